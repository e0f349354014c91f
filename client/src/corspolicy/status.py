"""What one process has applied, and what it refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corspolicy.core.decision import Reason

MAX_REPORTED_REJECTIONS = 10
"""A report names so many; one that names as many may have more."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the policies that one event loop holds, at one moment."""

    ready: bool
    """Whether policies are held that are not older than `max_stale`: without them nothing is granted."""
    connected: bool
    """Whether the feed is reading from Redis right now."""
    age: float | None
    """Seconds since what is held was last known to be current; None: it never was."""
    revision: int
    """The highest revision applied; 0 before the first."""
    cursor: str
    """The id of the last stream entry read."""
    tenants: int
    """How many tenants' documents are held."""
    complete: bool
    """Whether these are all tenants; beyond `capacity`, documents are fetched as requests ask for them."""
    rejections: Mapping[str, str]
    """Why the newest document of a tenant could not be read, by tenant; these keep their last good one."""
    denied: Mapping[Reason, int]
    """How many requests with an Origin were refused, by reason."""


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
    """That of the snapshot that is held; None while something may be missing and a new one is due."""
    digest: str
    tenants: int
    complete: bool
    rejections: Mapping[str, str]
    denied: Mapping[str, int]

    def to_bytes(self) -> bytes:
        """The report as it stands in Redis."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> dict[str, Any]:
        """The values of a report, perhaps of another version. Raises ValueError for what is no JSON object."""
        values = json.loads(data)
        if not isinstance(values, dict):
            raise ValueError("a report is a JSON object")
        return values
