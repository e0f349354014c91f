"""From a language of origins to the patterns that match nothing but what is in it.

With a pattern's `*` read as a character, the patterns that lie within a language are a language themselves: after `*`,
an automaton is in every state that the texts which `*` matches lead to, and each of them has to accept. The widest
patterns are its shortest words; what they cover is removed, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from corspolicy.core.origins import Origin
from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern
from policy_service.cli.cors_import import universe
from policy_service.cli.cors_import.languages import (
    EMPTY,
    Language,
    TooComplex,
    concatenation,
    difference,
    explored,
    intersection,
    reached,
    union,
)
from policy_service.cli.cors_import.machine import of

MAX_WILDCARDS = 100
MAX_ORIGINS = 300
# Of unboundedly many wildcards, only the widest are useful, if they are few.
_MAX_WIDEST = 10
_MAX_PORTS = 50
_IN_HOST = "abcdefghijklmnopqrstuvwxyz0123456789-_."
_FIXED = "[a-z0-9_-]"
# A label with one `*` and three other characters at least.
_PARTIAL = "|".join(rf"{_FIXED}{{{before},}}\*{_FIXED}{{{3 - before},}}" for before in range(4))


def inside(scheme: str, language: Language) -> list[str]:
    """The patterns of a scheme that match nothing but what is in a language of authorities."""
    return _Search(scheme, language).patterns()


class _Search:
    def __init__(self, scheme: str, language: Language) -> None:
        self._scheme = scheme
        self._language = language
        self._found: list[str] = []
        self._behind: dict[tuple[int, tuple[Language, ...]], frozenset[int] | None] = {}

    def patterns(self) -> list[str]:
        for port, good in self._by_port().items():
            # Where there is no simple pattern, there may still be single origins.
            with suppress(TooComplex):
                self._of_port(port, good)
        rest = difference(self._language, universe.matched(self._scheme, self._found))
        origins = [f"{self._scheme}://{authority}" for authority in rest.words(MAX_ORIGINS) or ()]
        return [*self._found, *(origin for origin in origins if Origin.parse(origin.encode()) is not None)]

    def _of_port(self, port: str, good: frozenset[int]) -> None:
        tail = f":{port}" if port else ""
        if self._matches_any_host(good):
            self._take(f"*{tail}")
            return
        self._widest(self._subdomains(good), tail)
        self._widest(self._within_labels(good), tail)
        if port == ANY:
            self._hosts(good)

    def _take(self, authority: str) -> None:
        pattern = f"{self._scheme}://{authority}"
        try:
            self._found.append(OriginPattern.parse(pattern).text)
        except InvalidOrigin:
            # Beyond a limit of length: no browser sends what it would match.
            return

    def _by_port(self) -> Mapping[str, frozenset[int]]:
        """By port (`*` for any or none, empty for none): the states after a host that this port may follow."""
        table, accepting = self._language.table, self._language.accepting
        every, single = set(), dict[str, set[int]]()
        for state, steps in enumerate(table):
            if ":" not in steps:
                continue
            after = reached(self._language, steps[":"], universe.ports(self._scheme))
            if state in accepting and after is not None and after <= accepting:
                every.add(state)
                continue
            for port in self._language.rest(steps[":"]).words(_MAX_PORTS) or ():
                single.setdefault(port, set()).add(state)
        fixed = {port: frozenset(states | every) for port, states in sorted(single.items()) if port.isdigit()}
        return {ANY: frozenset(every), "": accepting, **fixed}

    def _matches_any_host(self, good: frozenset[int]) -> bool:
        if universe.is_special(self._scheme):
            return False
        after = reached(self._language, self._language.start, universe.hosts(self._scheme))
        return after is not None and after <= good

    def _subdomains(self, good: frozenset[int]) -> Language:
        """The authorities such as `*.example.com` that lie within the language."""
        after = self._reached(self._language.start, universe.subdomains(self._scheme))
        if after is None:
            return EMPTY
        parents = intersection(explored(after, self._step, good.issuperset), universe.parents(self._scheme))
        return concatenation(of(r"\*\."), parents)

    def _within_labels(self, good: frozenset[int]) -> Language:
        """The authorities such as `app-*.example.com` that lie within the language."""

        def step(key: tuple[frozenset[int], bool]) -> dict[str, tuple[frozenset[int], bool]]:
            steps = {character: (states, key[1]) for character, states in self._step(key[0]).items()}
            if not key[1]:
                after = [self._reached(state, universe.within(self._scheme)) for state in key[0]]
                states = [found for found in after if found is not None]
                if len(states) == len(after):
                    steps[ANY] = (frozenset().union(*states), True)
            return steps

        start = (frozenset((self._language.start,)), False)
        words = explored(start, step, lambda key: key[1] and key[0] <= good)
        return intersection(words, concatenation(of(rf"(?:{_PARTIAL})\."), universe.parents(self._scheme)))

    def _reached(self, state: int, lengths: tuple[Language, ...]) -> frozenset[int] | None:
        """The states after texts of any length or, where those lead out of the language, of a label's length."""
        key = state, lengths
        if key not in self._behind:
            found = (reached(self._language, state, by) for by in lengths)
            self._behind[key] = next((states for states in found if states is not None), None)
        return self._behind[key]

    def _step(self, states: frozenset[int]) -> dict[str, frozenset[int]]:
        tables = [self._language.table[state] for state in states]
        return {
            character: frozenset(table[character] for table in tables)
            for character in _IN_HOST
            if all(character in table for table in tables)
        }

    def _widest(self, words: Language, tail: str) -> None:
        """Take the widest of the patterns in a language; of unboundedly many only the first, if they are few."""
        # A pattern for any port covers those for each port.
        covered = [self._authority(found) for found in self._found if found.endswith((":*", tail))]
        words = _without(words, covered)
        layers: list[list[str]] = []
        while not words.is_empty:
            layers.append(words.shortest(MAX_WILDCARDS + 1))
            if sum(map(len, layers)) > MAX_WILDCARDS:
                layers = layers[:1] if len(layers[0]) <= _MAX_WIDEST else []
                break
            words = _without(words, layers[-1])
        for layer in layers:
            for word in layer:
                self._take(f"{word}{tail}")

    def _authority(self, pattern: str) -> str:
        return pattern.removeprefix(f"{self._scheme}://").removesuffix(":*")

    def _hosts(self, good: frozenset[int]) -> None:
        """Take the single hosts that have any port."""
        words = explored(self._language.start, self._language.table.__getitem__, good.__contains__)
        covered = universe.matched(self._scheme, self._found)
        for host in difference(intersection(words, universe.hosts(self._scheme)), covered).words(MAX_ORIGINS) or ():
            if Origin.parse(f"{self._scheme}://{host}".encode()) is not None:
                self._take(f"{host}:*")


def _without(words: Language, authorities: Iterable[str]) -> Language:
    """The patterns that none of the others covers, all read as characters."""
    return difference(words, union(of(_covered(authority)) for authority in authorities))


def _covered(authority: str) -> str:
    if authority.startswith("*."):
        return rf"[a-z0-9_.*-]+\.{re.escape(authority[2:])}"
    before, star, after = authority.partition(ANY)
    within = r"[a-z0-9-]*\*[a-z0-9-]*" if star else ""
    return f"{re.escape(before)}{within}{re.escape(after)}"
