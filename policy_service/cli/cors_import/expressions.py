"""Regular expressions as trees, read with the parser of `re` itself, so that they mean here what they mean there."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from corspolicy.core.origins import MAX_ORIGIN_BYTES

# All that a server can read in a header line (RFC 9110, section 5.5), as Starlette decodes it.
CHARACTERS = "\t" + "".join(map(chr, [*range(0x20, 0x7F), *range(0x80, 0x100)]))
_UNREADABLE = {
    sre.ASSERT: "a lookahead or lookbehind",
    sre.ASSERT_NOT: "a lookahead or lookbehind",
    sre.GROUPREF: "a back reference",
    sre.GROUPREF_EXISTS: "a condition",
    sre.AT: "a word boundary",
}


@dataclass(frozen=True)
class Characters:
    """One character of a set; `is_dot` if it was written as a dot."""

    chosen: frozenset[str]
    is_dot: bool = False


@dataclass(frozen=True)
class Sequence:
    """Parts, one after the other."""

    parts: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One of several parts; without any, it matches nothing."""

    options: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Repeat:
    """A part, `least` to `most` times; any number of times if `most` is None."""

    part: Tree
    least: int
    most: int | None


@dataclass(frozen=True)
class Edge:
    """The beginning or the end of the text."""

    is_end: bool


@dataclass(frozen=True)
class Unreadable:
    """Something beyond regular languages, such as a lookahead; `wider` matches at least the same."""

    what: str
    wider: Tree


Tree = Characters | Sequence | Choice | Repeat | Edge | Unreadable
NOTHING = Choice()


def read(expression: re.Pattern[str]) -> Tree:
    """The tree of a compiled expression, with its flags."""
    with warnings.catch_warnings():
        # Those were given when it was compiled.
        warnings.simplefilter("ignore")
        return _Reader(parser.parse(expression.pattern, expression.flags & ~re.DEBUG)).tree()


def described(tree: Tree) -> list[str]:
    """The names of what in the tree is beyond regular languages."""
    found = [tree.what] if isinstance(tree, Unreadable) else []
    return list(dict.fromkeys([*found, *(what for child in _children(tree) for what in described(child))]))


def has_dots(tree: Tree) -> bool:
    """Whether it has a dot without a repetition, which is usually one that should have been escaped."""
    if isinstance(tree, Repeat) and isinstance(tree.part, Characters):
        return False
    return (isinstance(tree, Characters) and tree.is_dot) or any(map(has_dots, _children(tree)))


def with_plain_dots(tree: Tree) -> Tree:
    """The tree with each such dot escaped."""
    if isinstance(tree, Characters):
        return Characters(frozenset("."), False) if tree.is_dot else tree
    if isinstance(tree, Repeat) and isinstance(tree.part, Characters):
        return tree
    return _mapped(tree, with_plain_dots)


def without_loops(tree: Tree) -> Tree:
    """The tree without unbounded repetitions and large sets of characters: what remains can be listed."""
    if isinstance(tree, Characters):
        return NOTHING if len(tree.chosen) > _FEW else tree
    if isinstance(tree, Repeat) and (tree.most is None or tree.most > _FEW):
        if isinstance(tree.part, Characters) and len(tree.part.chosen) > 1:
            return NOTHING if tree.least else Sequence()
        return Repeat(without_loops(tree.part), tree.least, tree.least)
    return _mapped(tree, without_loops)


def alternatives(tree: Tree, limit: int) -> list[Tree]:
    """The trees that result from making each choice; the tree itself if there are more than `limit`."""
    try:
        return list(_alternatives(tree, limit))
    except _TooMany:
        return [tree]


_FEW = 12


class _TooMany(Exception):
    pass


def _alternatives(tree: Tree, limit: int) -> Iterator[Tree]:
    if isinstance(tree, Choice):
        found = [each for option in tree.options for each in _alternatives(option, limit)]
    elif isinstance(tree, Sequence):
        parts = [list(_alternatives(part, limit)) for part in tree.parts]
        total = 1
        for part in parts:
            total *= len(part)
        if total > limit:
            raise _TooMany
        found = [Sequence(each) for each in product(*parts)]
    elif isinstance(tree, Repeat) and (tree.least, tree.most) == (0, 1):
        found = [Sequence(), *_alternatives(tree.part, limit)]
    else:
        found = [tree]
    if len(found) > limit:
        raise _TooMany
    yield from found


def _children(tree: Tree) -> tuple[Tree, ...]:
    match tree:
        case Sequence(parts) | Choice(parts):
            return parts
        case Repeat(part) | Unreadable(_, part):
            return (part,)
    return ()


def _mapped(tree: Tree, change: Any) -> Tree:
    match tree:
        case Sequence(parts):
            return Sequence(tuple(map(change, parts)))
        case Choice(parts):
            return Choice(tuple(map(change, parts)))
        case Repeat(part):
            return replace(tree, part=change(part))
        case Unreadable(_, wider):
            return replace(tree, wider=change(wider))
    return tree


class _Reader:
    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed
        # The flags of the groups around, as the parser gives them.
        self._flags: list[tuple[int, int]] = []

    def tree(self) -> Tree:
        return self._sequence(self._parsed)

    def _sequence(self, nodes: Iterable[Any]) -> Tree:
        return Sequence(tuple(self._node(kind, value) for kind, value in nodes))

    def _node(self, kind: Any, value: Any) -> Tree:
        if kind in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY):
            return self._characters(kind, value)
        if kind is sre.BRANCH:
            return Choice(tuple(map(self._sequence, value[1])))
        if kind is sre.SUBPATTERN:
            return self._group(*value)
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self._repeat(*value)
        if kind is sre.AT and value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING, sre.AT_END, sre.AT_END_STRING):
            return Edge(value in (sre.AT_END, sre.AT_END_STRING))
        return self._unreadable(kind, value)

    def _group(self, _: int | None, added: int, removed: int, nodes: Any) -> Tree:
        self._flags.append((added, removed))
        found = self._sequence(nodes)
        self._flags.pop()
        return found

    def _repeat(self, least: int, most: int, nodes: Any) -> Tree:
        part = self._sequence(nodes)
        if isinstance(part, Sequence) and len(part.parts) == 1:
            part = part.parts[0]
        if nodes.getwidth()[0] == 0:
            # What can be empty can be so as often as it takes.
            least = 0
        elif least > MAX_ORIGIN_BYTES:
            return NOTHING
        return Repeat(part, least, None if most is sre.MAXREPEAT or most > MAX_ORIGIN_BYTES else most)

    def _characters(self, kind: Any, value: Any) -> Tree:
        # `re` itself says which they are: nothing else knows what its flags and categories mean.
        nodes = parser.SubPattern(self._parsed.state, [(kind, value)])
        for added, removed in reversed(self._flags):
            nodes = parser.SubPattern(self._parsed.state, [(sre.SUBPATTERN, (None, added, removed, nodes))])
        matches = compiler.compile(nodes).fullmatch
        return Characters(frozenset(filter(matches, CHARACTERS)), kind is sre.ANY)

    def _unreadable(self, kind: Any, value: Any) -> Tree:
        if kind is sre.GROUPREF_EXISTS:
            wider: Tree = Choice((self._sequence(value[1]), self._sequence(value[2] or ())))
        elif kind is sre.GROUPREF:
            wider = Repeat(Characters(frozenset(CHARACTERS)), 0, None)
        elif kind is sre.POSSESSIVE_REPEAT:
            wider = self._repeat(*value)
        elif kind is sre.ATOMIC_GROUP:
            wider = self._sequence(value)
        else:
            wider = Sequence()
        return Unreadable(_UNREADABLE.get(kind, "a group that does not backtrack"), wider)
