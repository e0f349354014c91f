"""From the tree of an expression to the language of its full matches."""

from __future__ import annotations

import re
from functools import cache

from policy_service.cli.cors_import.expressions import (
    Characters,
    Choice,
    Edge,
    Repeat,
    Sequence,
    Tree,
    Unreadable,
    read,
)
from policy_service.cli.cors_import.languages import ALPHABET, MAX_STATES, Language, TooComplex, explored

# No user's expression can mean the `*` of a pattern.
ORIGIN_CHARACTERS = ALPHABET.replace("*", "")
_Key = tuple[frozenset[int], bool]


def language(tree: Tree, *, wider: bool = False, characters: str = ORIGIN_CHARACTERS) -> Language:
    """The texts of these characters that the tree matches in full.

    What is beyond regular languages matches nothing, or with `wider` all that it might. Raises TooComplex.
    """
    machine = _Machine(wider, frozenset(characters))
    end = machine.add(tree, machine.new_state())
    return explored(machine.start(), machine.step, lambda key: end in machine.closure(*key, at_end=True))


@cache
def of(expression: str, characters: str = ALPHABET) -> Language:
    """The language of a constant expression."""
    return language(read(re.compile(expression)), characters=characters)


class _Machine:
    """A nondeterministic automaton (Thompson); some empty steps are open only at the start or end of the text."""

    def __init__(self, wider: bool, characters: frozenset[str]) -> None:
        self._wider = wider
        self._characters = characters
        self._steps: list[list[tuple[frozenset[str], int]]] = []
        self._empty: list[list[tuple[int, bool | None]]] = []

    def new_state(self) -> int:
        if len(self._steps) == 5 * MAX_STATES:
            raise TooComplex
        self._steps.append([])
        self._empty.append([])
        return len(self._steps) - 1

    def start(self) -> _Key:
        return self.closure(frozenset((0,)), True), True

    def add(self, tree: Tree, start: int) -> int:
        """Add states that match `tree` after the state `start`; returns the last one."""
        match tree:
            case Characters(chosen):
                end = self.new_state()
                self._steps[start].append((chosen & self._characters, end))
                return end
            case Sequence(parts):
                for part in parts:
                    start = self.add(part, start)
                return start
            case Choice(options):
                end = self.new_state()
                for option in options:
                    self._empty[self.add(option, self._branch(start))].append((end, None))
                return end
            case Edge(is_end):
                end = self.new_state()
                self._empty[start].append((end, is_end))
                return end
            case Unreadable(_, wider):
                return self.add(wider if self._wider else Choice(), start)
            case Repeat(part, least, most):
                return self._repeat(part, least, most, start)

    def step(self, key: _Key) -> dict[str, _Key]:
        found: dict[str, set[int]] = {}
        for state in key[0]:
            for characters, target in self._steps[state]:
                for character in characters:
                    found.setdefault(character, set()).add(target)
        closed: dict[frozenset[int], _Key] = {}
        for targets in map(frozenset, found.values()):
            if targets not in closed:
                closed[targets] = (self.closure(targets, False), False)
        return {character: closed[frozenset(targets)] for character, targets in found.items()}

    def closure(self, states: frozenset[int], at_start: bool, at_end: bool = False) -> frozenset[int]:
        """The states that empty steps reach."""
        found, stack = set(states), list(states)
        while stack:
            for target, is_end in self._empty[stack.pop()]:
                is_open = is_end is None or (at_end if is_end else at_start)
                if is_open and target not in found:
                    found.add(target)
                    stack.append(target)
        return frozenset(found)

    def _branch(self, start: int) -> int:
        state = self.new_state()
        self._empty[start].append((state, None))
        return state

    def _repeat(self, part: Tree, least: int, most: int | None, start: int) -> int:
        for _ in range(least):
            start = self.add(part, start)
        end = self._branch(start)
        if most is None:
            again = self._branch(end)
            self._empty[self.add(part, again)].append((end, None))
            return end
        for _ in range(most - least):
            start = self.add(part, start)
            self._empty[start].append((end, None))
        return end
