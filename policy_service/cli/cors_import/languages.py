"""Regular languages as deterministic automata, with set operations and example words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

MAX_STATES = 6_000
# The order of example words: letters read best.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-_.:/[]+*"
_RANK = {character: rank for rank, character in enumerate(ALPHABET)}


class TooComplex(Exception):
    """An automaton would have too many states."""


@dataclass(frozen=True, eq=False)
class Language:
    """A set of words. Every state of the automaton leads to a word; a missing transition leads to none."""

    table: tuple[Mapping[str, int], ...]
    accepting: frozenset[int]
    start: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it has no words."""
        return not self.accepting

    @cached_property
    def distances(self) -> Mapping[int, int]:
        """By state: the least number of characters that completes a word."""
        sources: list[list[int]] = [[] for _ in self.table]
        for state, steps in enumerate(self.table):
            for target in steps.values():
                sources[target].append(state)
        found = dict.fromkeys(self.accepting, 0)
        queue = deque(found)
        while queue:
            state = queue.popleft()
            for source in sources[state]:
                if source not in found:
                    found[source] = found[state] + 1
                    queue.append(source)
        return found

    def after(self, text: str, state: int | None = None) -> int | None:
        """The state after `text`, from `state` or the start; None if no word continues like that."""
        at: int | None = self.start if state is None else state
        for character in text:
            if at is None:
                return None
            at = self.table[at].get(character)
        return at

    def __contains__(self, text: str) -> bool:
        return self.after(text) in self.accepting

    def rest(self, state: int) -> Language:
        """The texts that complete a word from `state`."""
        return explored(state, self.table.__getitem__, self.accepting.__contains__)

    def shortest(self, limit: int) -> list[str]:
        """Up to `limit` of the shortest words, all of the same length."""
        if self.is_empty:
            return []
        return list(islice(self._words(self.start, self.distances[self.start]), limit))

    def words(self, limit: int) -> list[str] | None:
        """All words; None if there are more than `limit`."""
        longest = self._longest()
        if longest is None or sum(self._counts(longest)) > limit:
            return None
        return [word for length in range(longest + 1) for word in self._words(self.start, length)]

    def _longest(self) -> int | None:
        """The length of the longest word (0 without words); None if words have any length."""
        level = {self.start}
        for length in range(len(self.table)):
            level = {target for state in level for target in self.table[state].values()}
            if not level:
                return length
        return None

    def _counts(self, longest: int) -> Iterator[int]:
        level = {self.start: 1}
        for _ in range(longest + 1):
            yield sum(count for state, count in level.items() if state in self.accepting)
            following: dict[int, int] = {}
            for state, count in level.items():
                for target in self.table[state].values():
                    following[target] = following.get(target, 0) + count
            level = following

    def _words(self, state: int, length: int) -> Iterator[str]:
        if length == 0:
            if state in self.accepting:
                yield ""
            return
        for character, target in sorted(self.table[state].items(), key=lambda step: _RANK[step[0]]):
            if self.distances[target] < length:
                for word in self._words(target, length - 1):
                    yield character + word


EMPTY = Language(({},), frozenset())


def explored(start: K, step: Callable[[K], Mapping[str, K]], is_accepting: Callable[[K], bool]) -> Language:
    """The language of an automaton given by its steps. Raises TooComplex."""
    numbers = {start: 0}
    keys = [start]
    table: list[dict[str, int]] = []
    while len(table) < len(keys):
        steps = {}
        for character, key in step(keys[len(table)]).items():
            if key not in numbers:
                if len(keys) == MAX_STATES:
                    raise TooComplex
                numbers[key] = len(keys)
                keys.append(key)
            steps[character] = numbers[key]
        table.append(steps)
    return _trimmed(Language(tuple(table), frozenset(number for key, number in numbers.items() if is_accepting(key))))


def intersection(one: Language, other: Language) -> Language:
    """The words in both."""

    def step(key: tuple[int, int]) -> dict[str, tuple[int, int]]:
        steps, others = one.table[key[0]], other.table[key[1]]
        return {character: (steps[character], others[character]) for character in steps if character in others}

    return explored((one.start, other.start), step, lambda key: key[0] in one.accepting and key[1] in other.accepting)


def difference(one: Language, other: Language) -> Language:
    """The words of one that are not in the other."""

    def step(key: tuple[int, int | None]) -> dict[str, tuple[int, int | None]]:
        others = {} if key[1] is None else other.table[key[1]]
        return {character: (target, others.get(character)) for character, target in one.table[key[0]].items()}

    start: tuple[int, int | None] = (one.start, other.start)
    return explored(start, step, lambda key: key[0] in one.accepting and key[1] not in other.accepting)


def union(languages: Iterable[Language]) -> Language:
    """The words in any of them."""
    parts = tuple(languages)

    def step(key: frozenset[tuple[int, int]]) -> dict[str, frozenset[tuple[int, int]]]:
        targets: dict[str, set[tuple[int, int]]] = {}
        for part, state in key:
            for character, target in parts[part].table[state].items():
                targets.setdefault(character, set()).add((part, target))
        return {character: frozenset(found) for character, found in targets.items()}

    start = frozenset((number, part.start) for number, part in enumerate(parts))
    return explored(start, step, lambda key: any(state in parts[part].accepting for part, state in key))


def concatenation(one: Language, other: Language) -> Language:
    """The words of one, each followed by a word of the other."""

    def key(state: int | None, others: Iterable[int]) -> tuple[int | None, frozenset[int]]:
        return state, frozenset((*others, other.start) if state in one.accepting else others)

    def step(at: tuple[int | None, frozenset[int]]) -> dict[str, tuple[int | None, frozenset[int]]]:
        steps = {} if at[0] is None else one.table[at[0]]
        following: dict[str, set[int]] = {character: set() for character in steps}
        for state in at[1]:
            for character, target in other.table[state].items():
                following.setdefault(character, set()).add(target)
        return {character: key(steps.get(character), targets) for character, targets in following.items()}

    return explored(key(one.start, ()), step, lambda at: not at[1].isdisjoint(other.accepting))


def reached(language: Language, state: int, by: Language) -> frozenset[int] | None:
    """The states after the words of `by`, from `state`; None if one of them leads out of the language."""
    seen = {(state, by.start)}
    queue = deque(seen)
    while queue:
        at, other = queue.popleft()
        for character, target in by.table[other].items():
            following = language.table[at].get(character)
            if following is None:
                return None
            if (following, target) not in seen:
                seen.add((following, target))
                queue.append((following, target))
    return frozenset(at for at, other in seen if other in by.accepting)


def _trimmed(language: Language) -> Language:
    alive = language.distances
    if language.start not in alive:
        return EMPTY
    numbers = {state: number for number, state in enumerate(sorted(alive))}
    table = tuple(
        {character: numbers[target] for character, target in language.table[state].items() if target in alive}
        for state in sorted(alive)
    )
    return Language(table, frozenset(numbers[state] for state in language.accepting), numbers[language.start])
