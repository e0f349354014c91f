"""How often somebody may do something: token buckets, in the memory of one process."""

from __future__ import annotations

import time
from collections import OrderedDict

MAX_NAMES = 10_000


class RateLimit:
    """A bucket of `burst` tokens for each name; each gets `per_second` back. Bounded: the least recently used goes."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        # What a bucket held, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until there is a token; 0 if there is one."""
        return max(0.0, (1 - self._tokens(name)) / self._per_second)

    def take(self, name: str, tokens: float = 1) -> None:
        """Take tokens, also more than there are: what was lent has to come back before there is one again."""
        self._buckets[name] = (self._tokens(name) - tokens, time.monotonic())
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)

    def _tokens(self, name: str) -> float:
        tokens, at = self._buckets.get(name, (self._burst, time.monotonic()))
        return min(self._burst, tokens + (time.monotonic() - at) * self._per_second)
