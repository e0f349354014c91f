"""What a caller asks for with a change."""

from __future__ import annotations

from dataclasses import dataclass

from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import Precondition


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asks for a change, why, and under which conditions."""

    caller: Caller
    precondition: Precondition
    reason: str | None = None
    """Corspolicy-Reason: recorded with the change."""
    dry_run: bool = False
    """Check everything and write nothing."""
    confirmed: bool = False
    """Make the change even if it removes more than half of a policy's origins."""
