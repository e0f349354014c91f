"""Reads header lines: `Name: value`, or names and values in lines of their own, as browsers' tables are copied."""

from __future__ import annotations

import re
from typing import NamedTuple

from policy_service.decisions.pastes.model import is_name
from policy_service.decisions.pastes.text import Numbered

Pair = tuple[str, str]

# What the tables have beside headers, by its lower-case name.
URL, METHOD = "request url", "request method"
_SUMMARY = frozenset(
    (URL, METHOD, "status code", "remote address", "referrer policy", "request priority", "dns resolution")
)
_LONGEST_SUMMARY = max(map(len, _SUMMARY))
_PLAIN = re.compile(r":?[^:]*:(?:\s|$)")


class HeaderLines(NamedTuple):
    """What was read: header lines, pseudo-headers and summary rows alike, and the lines that are none of these."""

    pairs: list[Pair]
    wrong: list[int]


def read(lines: list[Numbered], *, has_body: bool) -> HeaderLines:
    """Read lines up to the first that can't belong to the head. `has_body`: a blank line ends the head."""
    if has_body or _is_plain(lines):
        return _read_plain(lines, has_body)
    return _read_alternating(lines) or _read_plain(lines, has_body)


def _read_plain(lines: list[Numbered], has_body: bool) -> HeaderLines:
    pairs: list[Pair] = []
    wrong: list[int] = []
    is_after_blank = False
    for number, text in lines:
        if not text:
            if has_body and pairs:
                break
            is_after_blank = bool(pairs)
            continue
        pair = pair_of(text)
        if pair is not None:
            pairs.append(pair)
        elif is_after_blank:
            break
        else:
            wrong.append(number)
    return HeaderLines(pairs, wrong)


def _read_alternating(lines: list[Numbered]) -> HeaderLines | None:
    """Names and values in turn; None if a line that should be a name is none."""
    pairs: list[Pair] = []
    rest = iter(lines)
    for _, text in rest:
        if not text:
            continue
        name, tab, value = text.partition("\t")
        name = name.strip().removesuffix(":")
        if not _is_row_name(name):
            return None
        if not tab:
            following = next(rest, None)
            if following is None and not pairs:
                return None
            value = "" if following is None else following.text
        pairs.append((name, value.strip()))
    return HeaderLines(pairs, [])


def _is_plain(lines: list[Numbered]) -> bool:
    """Whether each line is a name and a colon with white space or nothing behind it, which no line of a value is."""
    texts = [text for _, text in lines if text]
    pairs = [pair_of(text) if _PLAIN.match(text) else None for text in texts]
    return all(pairs) and any(pair is not None and pair[1] for pair in pairs)


def pair_of(text: str) -> Pair | None:
    """The name and the value of a line `Name: value`; None for any other."""
    pseudo = ":" if text.startswith(":") else ""
    name, colon, value = text[len(pseudo) :].partition(":")
    name = pseudo + name.strip()
    return (name, value.strip()) if colon and _is_row_name(name) else None


def _is_row_name(name: str) -> bool:
    return is_name(name.removeprefix(":")) or (len(name) <= _LONGEST_SUMMARY and name.lower() in _SUMMARY)
