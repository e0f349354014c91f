"""What a caller asks for with a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from policy_service.auth.callers import Caller
from policy_service.auth.checks import Checks
from policy_service.changes.preconditions import Precondition

FEW_VALUES = 100
"""So many are checked within a few milliseconds."""

P = ParamSpec("P")
T = TypeVar("T")


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
    checks: Checks | None = None
    """Where large documents are checked; None for corspolicy itself, which has no key."""

    async def check(self, size: int, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `check`, which looks at `size` values.

        In a thread where they are many: others are served and changes published while it runs. At once where they are
        few: a small change never waits for a large one of its key.
        """
        if size <= FEW_VALUES:
            return check(*args, **kwargs)
        if self.checks is None:
            return await asyncio.to_thread(check, *args, **kwargs)
        return await self.checks.run(self.caller, check, *args, **kwargs)
