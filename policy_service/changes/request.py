"""What is asked with a change."""

from __future__ import annotations

from dataclasses import dataclass

from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import Precondition


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asks for a change and why, and how far it is meant."""

    caller: Caller
    if_match: Precondition
    reason: str | None = None
    """Corspolicy-Reason: kept with the change."""
    is_dry_run: bool = False
    """Nothing is to be written: the answer shows what would be."""
    is_confirmed: bool = False
    """Also if it takes origins away, as `losses` tells."""
