"""How many values to ask Redis for at once: as many as come in a moment, however large they are or slow the line is."""

from __future__ import annotations

import math

FIRST_PAGE = 20
MAX_PAGE = 200
FAST_SECONDS = 0.1
SLOW_SECONDS = 0.5


class Pace:
    """The size of the next page, from the time that the last one took."""

    def __init__(self) -> None:
        self.page = FIRST_PAGE
        self._round_trip = math.inf

    def connected(self) -> None:
        """Note that what follows goes over another connection."""
        self._round_trip = math.inf

    def answered(self, seconds: float) -> None:
        """Note how long any answer took: the quickest had the line's own delay, which no smaller page makes less."""
        self._round_trip = min(self._round_trip, seconds)

    def took(self, seconds: float) -> None:
        """Note how long a full page took."""
        self.answered(seconds)
        if seconds - self._round_trip < FAST_SECONDS:
            self.page = min(2 * self.page, MAX_PAGE)
        elif seconds - self._round_trip > SLOW_SECONDS:
            self.page = max(self.page // 2, 1)

    def failed(self) -> None:
        """Note that a page did not come in time."""
        self.page = max(self.page // 4, 1)
