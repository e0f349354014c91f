"""What processes may allow and what they must, in a file that those who write and those who check share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_MAY, _MUST, _EVER = 1, 2, 4
_FLAGS = 3
_WORD = 8


class Words:
    """A file of whole numbers that several processes share; it outlives those that are killed."""

    def __init__(self, path: Path, count: int) -> None:
        with path.open("a+b") as file:
            file.truncate(count * _WORD)
            # Each is read and written at once: it is one word of the machine.
            self.values = memoryview(mmap.mmap(file.fileno(), count * _WORD)).cast("Q")


class Expected(NamedTuple):
    """Of one origin of a tenant."""

    settled: int
    """How often everything was settled: every process known to hold what is committed."""
    version: int
    """How often it was settled, or a receipt came that says more: a request under way then shows nothing."""
    may: bool
    """Allowed when it was settled, or by a write whose request was sent since; no receipt of a removal came since."""
    must: bool
    """Allowed when it was settled, or since a receipt, and by everything written since."""
    ever: bool
    """Allowed by anything that was ever written."""


class Book:
    """What is expected of every origin of every tenant: kept by one process, read by all."""

    def __init__(self, folder: Path, tenants: Mapping[str, Sequence[str]]) -> None:
        """`tenants` have origins of their own; each is asked for those of the others as well."""
        self.tenants = tenants
        origins = [origin for of_tenant in tenants.values() for origin in of_tenant]
        self.pairs = [(tenant, origin) for tenant in tenants for origin in origins]
        self._index = {pair: 1 + index for index, pair in enumerate(self.pairs)}
        self._words = Words(folder / "book", 1 + len(self.pairs)).values
        self._violations = folder / "violations"

    def __getitem__(self, pair: tuple[str, str]) -> Expected:
        settled, word = self._words[0], self._words[self._index[pair]]
        return Expected(settled, word >> _FLAGS, bool(word & _MAY), bool(word & _MUST), bool(word & _EVER))

    @property
    def settled(self) -> int:
        """How often everything was settled."""
        return self._words[0]

    def begin_write(self, tenant: str, *, allows: Iterable[str] = (), removes: Iterable[str] = ()) -> None:
        """A write is about to be sent; whether it will be done, and when it is applied, is open."""
        for origin in allows:
            self._set(tenant, origin, on=_MAY | _EVER)
        for origin in removes:
            self._set(tenant, origin, off=_MUST)

    def receive(self, tenant: str, *, allows: Iterable[str] = (), removes: Iterable[str] = ()) -> None:
        """A receipt came: every process applies what was written."""
        for origin in allows:
            self._set(tenant, origin, on=_MUST, is_news=True)
        for origin in removes:
            self._set(tenant, origin, off=_MAY, is_news=True)

    def set_back(self, truth: Mapping[str, frozenset[str]]) -> None:
        """What is committed is about to be what it was."""
        for tenant, origin in self.pairs:
            if origin in truth[tenant]:
                self._set(tenant, origin, on=_MAY)
            else:
                self._set(tenant, origin, off=_MUST)

    def settle(self, truth: Mapping[str, frozenset[str]]) -> None:
        """Every process is known to hold this; nobody writes."""
        for tenant, origin in self.pairs:
            if origin in truth[tenant]:
                self._set(tenant, origin, on=_MAY | _MUST, is_news=True)
            else:
                # That it was never written is not for this to hide: `ever` stays.
                self._set(tenant, origin, off=_MAY | _MUST, is_news=True)
        self._words[0] += 1

    def _set(self, tenant: str, origin: str, *, on: int = 0, off: int = 0, is_news: bool = False) -> None:
        index = self._index[tenant, origin]
        self._words[index] = ((self._words[index] | on) & ~off) + (is_news << _FLAGS)

    def note(self, violation: str) -> None:
        """Keep what went wrong; written at once, so that it outlives the process."""
        with self._violations.open("ab", buffering=0) as file:
            os.write(file.fileno(), (" ".join(violation.split()) + "\n").encode())

    def violations(self) -> list[str]:
        """All that went wrong, in every process."""
        return self._violations.read_text().splitlines() if self._violations.exists() else []


class Rule(NamedTuple):
    """What may be asked of one process."""

    name: str
    holds_all: bool = True
    has_file: bool = False
    started: int = 0
    """How often everything had been settled when it last started; it is new until that is so once more."""

    def wrong(self, expected: Expected, *, is_allowed: bool) -> str | None:
        """What is wrong with an answer, if anything."""
        is_new = self.started == expected.settled
        # A last-known-good file is as old as it is: a start from it while Redis is out of reach may allow what was
        # removed since, and that is what it is for. But nothing that was never allowed.
        may = expected.ever if is_new and self.has_file else expected.may
        if is_allowed and not may:
            return "allowed although it is not, and was not since all processes were known to apply its removal"
        # A process that has just started may not reach Redis, nor one that holds some tenants for the others.
        if not is_allowed and expected.must and self.holds_all and not is_new:
            return "denied although it has been allowed all the time"
        return None

    def check(self, before: Expected, after: Expected, *, is_allowed: bool) -> str | None:
        """What is wrong with the answer to a request, given what was expected before it and after it."""
        if (before.settled, before.version) != (after.settled, after.version):
            return None
        return self.wrong(after, is_allowed=is_allowed)
