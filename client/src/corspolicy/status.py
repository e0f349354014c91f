"""What one process has applied, and what it refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corspolicy.decision import Reason


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
    rejections: Mapping[str, str]
    """Why the newest document of a tenant could not be read, by tenant; these keep their last good one."""
    denied: Mapping[Reason, int]
    """How many requests with an Origin were refused, by reason."""
