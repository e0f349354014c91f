"""How long an event loop stood still."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

TICK_SECONDS = 0.001


class Stalls:
    """A heartbeat in the running loop: `async with` it around what may hold the loop up."""

    longest = 0.0
    """The longest time between two beats for which the process was at work, in ms.

    On a busy machine a process waits for its turn as well: that is not counted.
    """

    async def __aenter__(self) -> Stalls:
        self._beating = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        # The last beat is late if something held it up until now.
        await asyncio.sleep(2 * TICK_SECONDS)
        self._beating.cancel()

    def reset(self) -> None:
        """Forget the past."""
        self.longest = 0.0

    async def _beat(self) -> None:
        while True:
            begin, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK_SECONDS)
            stall = min(time.monotonic() - begin - TICK_SECONDS, time.process_time() - worked)
            self.longest = max(self.longest, stall * 1000)
