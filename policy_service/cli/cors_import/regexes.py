"""Translates regular expressions of origins into the patterns that admit exactly the same origins, or says why not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

# The parser of `re` itself: any other would be a second opinion on what an expression means.
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from corspolicy.core.origins import MAX_HOST_BYTES, Origin
from corspolicy.core.patterns import InvalidOrigin, OriginPattern

MAX_EXPANSIONS = 200

# An expression becomes the texts that it stands for, with these marks in them; no origin has such characters.
_ANYTHING, _PORT, _LABEL, _BEGIN, _END = "\0", "\1", "\2", "\3", "\4"
_FORM = re.compile(r"(?P<scheme>[^\0-\4]+)://(?P<any>\0\.)?(?P<host>[^\0-\4]+?)(?P<port>:[\0\1])?")
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_.:/[]+"
_CATEGORIES = {sre.CATEGORY_DIGIT: "0123456789", sre.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyz0123456789_"}
_UNESCAPED_DOT = re.compile(r"(\\.)|\.(?![*+?{])", re.DOTALL)
_LIST_THEM = "List the origins that you mean."


class Untranslatable(Exception):
    """Why no list of patterns admits the same origins, and what to do instead."""


class _AnyCharacter(Exception):
    pass


def translate(expression: str) -> list[str]:
    """The patterns that admit just those origins that the whole of `expression` matches. Raises Untranslatable."""
    parsed = parser.parse(expression)
    if parsed.state.flags != re.UNICODE:
        raise Untranslatable("It has flags such as (?i). Write it without: browsers send origins in lower case.")
    try:
        texts = [_without_anchors(text) for text in _expanded(parsed)]
    except _AnyCharacter:
        raise Untranslatable(_on_dots(expression)) from None
    if _ANYTHING in texts:
        return ["*"]
    return _joined(dict.fromkeys(pattern for text in texts if (pattern := _pattern(text)) is not None))


def _expanded(nodes: Iterable[Any]) -> list[str]:
    """All texts that the nodes stand for."""
    texts = [""]
    for kind, value in nodes:
        texts = _products(texts, _choices(kind, value))
    return texts


def _products(texts: list[str], choices: list[str]) -> list[str]:
    if len(texts) * len(choices) > MAX_EXPANSIONS:
        raise Untranslatable(f"It stands for more than {MAX_EXPANSIONS} origins. {_LIST_THEM}")
    return ["".join(parts) for parts in product(texts, choices)]


def _choices(kind: Any, value: Any) -> list[str]:
    if kind is sre.LITERAL:
        return [chr(value)]
    if kind is sre.IN:
        return _characters(value)
    if kind is sre.ANY:
        raise _AnyCharacter
    if kind is sre.BRANCH:
        return [text for branch in value[1] for text in _expanded(branch)]
    if kind is sre.SUBPATTERN and not value[1] and not value[2]:
        return _expanded(value[3])
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        return _repeated(*value)
    if kind is sre.AT and value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
        return [_BEGIN]
    if kind is sre.AT and value in (sre.AT_END, sre.AT_END_STRING):
        return [_END]
    what = str(value if kind is sre.AT else kind).lower().replace("_", " ")
    raise Untranslatable(f"It has something that no pattern can say ({what}). {_LIST_THEM}")


def _characters(items: list[Any]) -> list[str]:
    found = set()
    for kind, value in items:
        if kind is sre.LITERAL:
            found.add(chr(value))
        elif kind is sre.RANGE:
            found |= {character for character in _CHARACTERS if value[0] <= ord(character) <= value[1]}
        elif kind is sre.CATEGORY and value in _CATEGORIES:
            found |= set(_CATEGORIES[value])
        else:
            raise Untranslatable(f"It has a set of characters that is open. {_LIST_THEM}")
    return sorted(found)


def _repeated(least: int, most: int, nodes: Any) -> list[str]:
    kind, value = nodes[0] if len(nodes) == 1 else (None, [])
    # `.*` and `.+` differ in the empty text only, and no origin has one where they can stand.
    if kind is sre.ANY and least <= 1 and most is sre.MAXREPEAT:
        return [_ANYTHING]
    if kind is sre.IN and least <= 1 and most >= 5 and _characters(value) == list("0123456789"):
        return [_PORT]
    if kind in (sre.IN, sre.NOT_LITERAL) and most is sre.MAXREPEAT:
        return [_LABEL]
    if most > MAX_HOST_BYTES:
        raise Untranslatable(f"It repeats something without end. {_LIST_THEM}")
    texts = choices = _expanded(nodes) if most else [""]
    repeated = [""] if least == 0 else []
    for count in range(1, most + 1):
        if count >= least:
            repeated += texts
        texts = _products(texts, choices) if count < most else texts
    return repeated


def _without_anchors(text: str) -> str:
    # The whole origin has to match anyway.
    return text.lstrip(_BEGIN).rstrip(_END)


def _pattern(text: str) -> str | None:
    """The pattern that admits what `text` matches; None if no browser sends such an origin."""
    if _BEGIN in text or _END in text:
        return None
    if text == "null":
        raise Untranslatable("It matches `null`, which any sandboxed page sends. Take that out.")
    if not any(mark in text for mark in (_ANYTHING, _PORT, _LABEL)):
        return text if Origin.parse(text.encode("utf-8", "surrogatepass")) is not None else None
    form = _FORM.fullmatch(text)
    # What follows an open bracket may as well be the rest of an address.
    if form is None or (form["host"].startswith("[") and not form["host"].endswith("]")):
        raise Untranslatable(_why_not(text))
    pattern = f"{form['scheme']}://{'*.' if form['any'] else ''}{form['host']}{':*' if form['port'] else ''}"
    try:
        return OriginPattern.parse(pattern).text
    except InvalidOrigin as error:
        if error.code == "origin_wildcard_misplaced":
            raise Untranslatable(f"{error.message} {_LIST_THEM}") from error
        return None


def _joined(patterns: dict[str, None]) -> list[str]:
    """The patterns, those of any port together with the same without a port."""
    for pattern in patterns:
        if pattern.endswith(":*") and pattern[:-2] not in patterns:
            raise Untranslatable(
                f"It asks for a port, and {pattern} admits {pattern[:-2]} as well. If that may pass, write (:\\d+)? "
                "for the port; else list the ports."
            )
    return [pattern for pattern in patterns if pattern.endswith(":*") or f"{pattern}:*" not in patterns]


def _on_dots(expression: str) -> str:
    escaped = _UNESCAPED_DOT.sub(lambda dot: dot[1] or r"\.", expression)
    why = r"An unescaped dot matches any character: `app.com` also matches appxcom."
    if escaped == expression:
        return f"{why} {_LIST_THEM}"
    try:
        meant = f", which is {', '.join(translate(escaped))}"
    except Untranslatable:
        meant = ""
    return f"{why} Write {escaped}{meant}."


def _why_not(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host = rest.partition(":")[0]
    if _without_marks(scheme) != scheme:
        return "It leaves the scheme open. Write https:// (and http:// where it is meant)."
    if host.startswith(f"{_LABEL}."):
        return (
            "It repeats a set of characters, as for one label, but `*.` stands for one label or more. "
            r"If deeper subdomains may pass as well, write `.*\.` in its place; else list the origins."
        )
    if host == _ANYTHING:
        return f"It admits every origin of {scheme}. Write `.*` for everybody without credentials, or list the origins."
    if host.startswith(_ANYTHING) and host[1:2] != ".":
        return f"It also admits {scheme}://evil{_without_marks(host)}. Write `.*\\.` for subdomains."
    if host.endswith(_ANYTHING):
        return f"It also admits {scheme}://{_without_marks(host)}.evil.com. End it with the host, or with (:\\d+)?."
    return (
        "`*` stands for whole labels at the left of the host, for nothing within one. For preview deployments, admit "
        "each origin when it is deployed: `corspolicy origins add TENANT ORIGIN --expires 3d`."
    )


def _without_marks(text: str) -> str:
    return text.replace(_ANYTHING, "").replace(_PORT, "").replace(_LABEL, "")
