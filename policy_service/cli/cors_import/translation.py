"""Translates a regular expression of origins into the patterns that match the same origins, or the nearest ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corspolicy.core.patterns import ANY
from policy_service.cli.cors_import import expressions, nearest, universe
from policy_service.cli.cors_import.expressions import Tree
from policy_service.cli.cors_import.languages import EMPTY, Language, difference, explored, intersection
from policy_service.cli.cors_import.machine import language, of
from policy_service.cli.cors_import.patterns import inside

_MAX_ALTERNATIVES = 32
_MAX_WITNESSES = 100
_MAX_SCHEMES = 20
_WEB = ("https", "http")
_SOME_ORIGINS = r"[a-z][a-z0-9+.-]*://[a-z0-9_-][a-z0-9_.-]*(?::[1-9][0-9]{0,3})?"
_EDGE_HYPHEN = re.compile(r"[/.]-|-(?:[.:]|$)")


@dataclass
class Translation:
    """Patterns for an expression.

    `patterns` match the same origins if `left_out` is None. Otherwise they are the nearest that match no others,
    `left_out` is an origin that they don't match, and `wider`, if there are any, are the nearest that match all.
    """

    patterns: list[str]
    left_out: str | None = None
    # An origin that the patterns match and the expression doesn't; its host is not a valid host name (RFC 1123).
    beside: str | None = None
    wider: list[str] | None = None
    # An origin that the wider patterns match and the expression doesn't.
    wider_beside: str | None = None


def translate(expression: re.Pattern[str]) -> Translation:
    """The patterns for the origins that an expression matches in full, as browsers send them. Raises TooComplex."""
    tree = expressions.read(expression)
    if _is_everything(expression, tree):
        return Translation([ANY])
    texts = _Texts(expression, tree)
    # An unescaped dot is hardly ever meant as any character; patterns for all of them would surprise.
    plain = expressions.with_plain_dots(tree)
    patterns = nearest.distinct(_inside(plain, texts.schemes))
    left_out = texts.outside(patterns)
    if left_out is None:
        return Translation(patterns, None, texts.beside(patterns))
    patterns = nearest.distinct([*patterns, *_narrower(plain, texts.schemes)])
    found = Translation(patterns, texts.outside(patterns), texts.beside(patterns))
    if found.left_out is not None and texts.has_all_schemes:
        wider = _wider(tree, texts.schemes, patterns)
        if wider is not None and texts.outside(wider) is None:
            found.wider, found.wider_beside = wider, texts.beside(wider)
    return found


class _Texts:
    """The texts that an expression matches; what is beyond regular languages may match."""

    def __init__(self, expression: re.Pattern[str], tree: Tree) -> None:
        self._matches = expression.fullmatch
        self._least, self._most = language(tree), language(tree, wider=True)
        schemes = _schemes(self._most)
        self.has_all_schemes = schemes is not None
        self.schemes = list(_WEB) if schemes is None else schemes

    def outside(self, patterns: list[str]) -> str | None:
        """An origin that the expression matches, or may match, and none of the patterns does."""
        for scheme in self.schemes:
            rest = difference(_of_scheme(self._most, scheme), universe.matched(scheme, patterns))
            origins = [f"{scheme}://{authority}" for authority in rest.shortest(_MAX_WITNESSES)]
            if origins:
                return next(filter(self._matches, origins), origins[0])
        if not self.has_all_schemes:
            others = difference(self._most, of(f"(?:{'|'.join(_WEB)}|file)://.*"))
            return next(iter(intersection(others, of(_SOME_ORIGINS)).shortest(1)), None)
        return None

    def beside(self, patterns: list[str]) -> str | None:
        """An origin that one of the patterns matches and the expression doesn't."""
        for scheme in self.schemes:
            more = difference(universe.matched(scheme, patterns), _of_scheme(self._least, scheme))
            for authority in more.shortest(_MAX_WITNESSES):
                if not self._matches(f"{scheme}://{authority}"):
                    return f"{scheme}://{authority}"
        return None


def _inside(tree: Tree, schemes: list[str]) -> list[str]:
    """Patterns that match nothing that the tree doesn't."""
    texts = language(tree)
    return [pattern for scheme in schemes for pattern in inside(scheme, _of_scheme(texts, scheme))]


def _narrower(tree: Tree, schemes: list[str]) -> list[str]:
    """The patterns of each alternative by itself, and the origins that it lists."""
    parts = expressions.alternatives(tree, _MAX_ALTERNATIVES)
    found = [pattern for part in parts for pattern in _inside(part, schemes)] if len(parts) > 1 else []
    written = [pattern for part in parts for pattern in _inside(expressions.without_loops(part), schemes)]
    # A name that has lost its variable part, such as `app-.example.com`, is not in use.
    return [*found, *(pattern for pattern in written if not _EDGE_HYPHEN.search(pattern))]


def _wider(tree: Tree, schemes: list[str], patterns: list[str]) -> list[str] | None:
    """Patterns that match each alternative, the given ones included."""
    found = list(patterns)
    for alternative in expressions.alternatives(tree, _MAX_ALTERNATIVES):
        texts = language(alternative, wider=True)
        for scheme in schemes:
            rest = difference(_of_scheme(texts, scheme), universe.matched(scheme, found))
            nearby = [] if rest.is_empty else nearest.wider(scheme, rest)
            if nearby is None:
                return None
            found += nearby
    return nearest.distinct(found)


def _is_everything(expression: re.Pattern[str], tree: Tree) -> bool:
    """Whether the expression matches any text at all, as `.*` does."""
    if not all(map(expression.fullmatch, ("null", "https://a.example.com", "é, [\t"))):
        return False
    every = language(tree, characters=expressions.CHARACTERS)
    return all(
        len(steps) == len(expressions.CHARACTERS) and (state in every.accepting or state == every.start)
        for state, steps in enumerate(every.table)
    )


def _schemes(texts: Language) -> list[str] | None:
    """The schemes of the origins in a language; None if there are too many to list."""
    behind = {state for state in range(len(texts.table)) if texts.after("://", state) is not None}
    table = tuple({c: target for c, target in steps.items() if c not in ":/"} for steps in texts.table)
    found = explored(texts.start, table.__getitem__, behind.__contains__)
    words = intersection(found, of("[a-z][a-z0-9+.-]*")).words(_MAX_SCHEMES)
    return None if words is None else [word for word in words if not _of_scheme(texts, word).is_empty]


def _of_scheme(texts: Language, scheme: str) -> Language:
    state = texts.after(f"{scheme}://")
    if state is None or scheme == "file":
        return EMPTY
    return intersection(texts.rest(state), universe.authorities(scheme))
