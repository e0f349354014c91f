"""What one process has applied, and what it rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corspolicy.core.decision import Reason

MAX_REPORTED_REJECTIONS = 10
"""A report names at most so many; a process may have more."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one event loop's policies at one moment."""

    ready: bool
    """Whether there are policies that are not older than `max_stale`: without them nothing is granted."""
    connected: bool
    """Whether the feed is reading from Redis right now."""
    age: float | None
    """Seconds since the cached policies were last known to be current; None: they never were, or nobody knows when."""
    revision: int
    """The highest revision applied; 0 before the first."""
    cursor: str
    """The id of the last stream entry read."""
    tenants: int
    """How many tenants' documents are cached; deleted tenants have none."""
    complete: bool
    """Whether these are all tenants; beyond `capacity`, documents are fetched as requests ask for them."""
    rejections: Mapping[str, str]
    """Why the newest document of a tenant could not be read, by tenant; these keep their last readable one."""
    denied: Mapping[Reason, int]
    """How many requests with an Origin were denied, by reason."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process tells the service about itself: who it is, and what it has applied."""

    id: str
    host: str
    process: int
    version: str
    services: Sequence[str]
    started_at: float
    ready: bool
    age: float | None
    revision: int
    cursor: str
    epoch: str | None
    """That of the snapshot that was taken last; None before the first, and while something may be missing."""
    digest: str
    key_ids: Sequence[str]
    """The public keys that it accepts; none: it ignores signatures."""
    tenants: int
    complete: bool
    rejections: Mapping[str, str]
    denied: Mapping[str, int]

    def to_bytes(self) -> bytes:
        """The report as it is stored in Redis."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> dict[str, Any]:
        """The values of a report, perhaps of another version. Raises ValueError for anything but a JSON object."""
        values = json.loads(data)
        if not isinstance(values, dict):
            raise ValueError("a report is a JSON object")
        return values
