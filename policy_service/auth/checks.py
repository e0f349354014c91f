"""What takes the processor for long: done in threads, one check of a key at a time, and paid for with its tokens."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from policy_service.auth.callers import Caller
from policy_service.auth.rate_limits import RateLimit
from policy_service.auth.shares import Turns

SECONDS_PER_TOKEN = 0.005
"""How much of the processor's time a token of the key's bucket pays for."""
FEW_BYTES = 16 * 1024
"""So many are read within a few milliseconds."""
# More than one, so that nobody waits for the checks of a single key.
THREADS = 4

# For how long a thread computes before it lets the event loop go on: a request takes many such steps. Python's default
# is ten times that.
SWITCH_SECONDS = 0.0005

P = ParamSpec("P")
T = TypeVar("T")


class Checks:
    """Runs checks of large values. While one runs, requests are answered and changes published."""

    def __init__(self, requests: RateLimit, queue_timeout_seconds: float) -> None:
        """`requests`: the bucket of each key."""
        self._requests = requests
        self._turns = Turns(THREADS, 1, queue_timeout_seconds)
        self._threads = ThreadPoolExecutor(THREADS, "checks")
        sys.setswitchinterval(SWITCH_SECONDS)

    async def run_large(self, size: int, caller: Caller, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `check`, which looks at `size` bytes of JSON: at once where they are few. Raises as `run`."""
        if size <= FEW_BYTES:
            return check(*args, **kwargs)
        return await self.run(caller, check, *args, **kwargs)

    async def run(self, caller: Caller, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `check`, from a thread. Raises what it raises, and Problem 503 if its turn does not come."""

        def timed() -> T:
            began_at = time.thread_time()
            try:
                return check(*args, **kwargs)
            finally:
                used.append(time.thread_time() - began_at)

        async def take_turn() -> T:
            async with self._turns.turn(key):
                try:
                    return await asyncio.get_running_loop().run_in_executor(self._threads, timed)
                finally:
                    self._requests.take(key, sum(used) / SECONDS_PER_TOKEN)

        used: list[float] = []
        key = caller.actor.removeprefix("key:")
        # Shielded: a thread can't be interrupted, and it is the key's turn until it ends.
        return await asyncio.shield(take_turn())

    def close(self) -> None:
        """Start no more checks."""
        self._threads.shutdown(wait=False, cancel_futures=True)
