"""Names of tenants whose documents are not cached: as many as fit into a number of bytes, the latest."""

from __future__ import annotations

from collections import OrderedDict

MAX_UNKNOWN_BYTES = 4 * 1024 * 1024
MAX_KNOWN_BYTES = 16 * 1024 * 1024
ENTRY_BYTES = 256
"""What a name costs beside its characters: two objects, and their place in a table and in the order."""


class Names:
    """Names, each with a number, within `max_bytes`. A name that comes again is the latest again."""

    def __init__(self, max_bytes: int) -> None:
        self._max = self._free = max_bytes
        self._numbers: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def get(self, name: str) -> float:
        """The number of a name; 0 for one that is not there."""
        return self._numbers.get(name, 0.0)

    def add(self, name: str, number: float = 0.0) -> None:
        """Remember a name; the earliest ones are forgotten where they do not fit any more."""
        self.discard(name)
        self._numbers[name] = number
        self._free -= ENTRY_BYTES + len(name)
        while self._free < 0:
            earliest, _ = self._numbers.popitem(last=False)
            self._free += ENTRY_BYTES + len(earliest)

    def discard(self, name: str) -> None:
        """Forget a name, if it is there."""
        if self._numbers.pop(name, None) is not None:
            self._free += ENTRY_BYTES + len(name)

    def clear(self) -> None:
        """Forget all names."""
        self._numbers.clear()
        self._free = self._max
