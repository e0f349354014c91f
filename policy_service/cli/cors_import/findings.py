"""The result of an import: the policy, notes, and what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from corspolicy.core.validation import check
from policy_service.documents.domains import to_ascii

_SHOWN = 5


class Nearest(StrEnum):
    """Which policy to take where none means exactly the same."""

    NARROWER = "narrower"
    WIDER = "wider"


@dataclass
class Equivalent:
    """The policy that means the same as a middleware, notes on it, and what is left out of it."""

    nearest: Nearest | None = None
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, text: str) -> None:
        """Report something that pages can do with the middleware and not with the policy."""
        # To ask for the narrower policy is to accept what it leaves out.
        (self.notes if self.nearest is Nearest.NARROWER else self.left_out).append(text)


def listed(patterns: Sequence[str]) -> str:
    """Patterns for a message, shortened to the first few."""
    more = len(patterns) - _SHOWN
    return ", ".join(patterns[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def is_accepted(pattern: str) -> bool:
    """Whether a policy can list the pattern, some flags aside."""
    return check({"allow_origins": [pattern]}, to_ascii=to_ascii).policy is not None
