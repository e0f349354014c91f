"""The nearest wider patterns, for a language that no patterns match exactly."""

from __future__ import annotations

from collections.abc import Iterable

from corspolicy.core.origins import MAX_HOST_BYTES
from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern
from corspolicy.core.wildcards import PatternSet
from policy_service.cli.cors_import import universe
from policy_service.cli.cors_import.languages import Language, difference, explored, intersection
from policy_service.cli.cors_import.machine import of
from policy_service.cli.cors_import.patterns import inside
from policy_service.documents.domains import is_public_suffix

_IN_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_MAX_PORTS = 20
_FEW = 30


def distinct(patterns: Iterable[str]) -> list[str]:
    """The patterns in order, without those that another one covers."""
    texts = dict.fromkeys(patterns)
    known = PatternSet(texts)
    return sorted(text for text in texts if not any(known.broader(OriginPattern.parse(text), credentials=False)))


def wider(scheme: str, language: Language) -> list[str] | None:
    """Patterns that match all of a language of authorities and little more; None if all such are far too wide."""
    if language.words(_FEW) is not None:
        return inside(scheme, language)
    tails = _tails(language)
    for hosts in _hosts(scheme, language):
        patterns = [f"{scheme}://{host}{tail}" for host in hosts for tail in tails]
        if all(map(_is_acceptable, patterns)) and _covers(scheme, patterns, language):
            return patterns
    return None


def _covers(scheme: str, patterns: list[str], language: Language) -> bool:
    return difference(language, universe.matched(scheme, patterns)).is_empty


def _is_acceptable(pattern: str) -> bool:
    try:
        parsed = OriginPattern.parse(pattern)
    except InvalidOrigin:
        return False
    # Strangers have names under a public suffix.
    is_open = parsed.host.startswith("*.") and not parsed.is_loopback
    return not (is_open and is_public_suffix(parsed.host[2:].rstrip(".")))


def _hosts(scheme: str, language: Language) -> Iterable[list[str]]:
    """Candidates for the hosts, nearest first, from the prefix and suffix that all hosts share."""
    names = _names(language)
    if _has_addresses(language) or names.is_empty:
        return
    end = _shared_end(names)
    if names.words(1) is not None:
        yield [end]
        return
    after, dot, parent = end.partition(".")
    if dot and parent:
        before = _shared_beginning(names)
        yield [f"{before}{ANY}{after}.{parent}"]
        if after:
            yield [f"{ANY}.{end}", end]
        yield [f"{ANY}.{parent}"]
        yield [f"{ANY}.{parent}", parent]
    if not universe.is_special(scheme):
        yield [ANY]


def _names(language: Language) -> Language:
    """The hosts in a language of authorities, without IPv6 addresses."""

    def step(state: int) -> dict[str, int]:
        return {character: target for character, target in language.table[state].items() if character in _IN_HOST}

    return explored(language.start, step, lambda state: state in language.accepting or ":" in language.table[state])


def _has_addresses(language: Language) -> bool:
    return "[" in language.table[language.start]


def _tails(language: Language) -> list[str]:
    """What follows the hosts: the ports in the language, or any port if there are many."""
    found = set() if intersection(language, of("[^:]*")).is_empty else {""}
    for steps in language.table:
        if ":" in steps:
            ports = language.rest(steps[":"]).words(_MAX_PORTS)
            if ports is None:
                return [":*"]
            found |= {f":{port}" for port in ports}
    return sorted(found)


def _shared_beginning(names: Language) -> str:
    """The part of the leftmost label that all names begin with."""
    text, state = "", names.start
    while state not in names.accepting and len(names.table[state]) == 1:
        ((character, state),) = names.table[state].items()
        if character == ".":
            return ""
        text += character
    return text


def _shared_end(names: Language) -> str:
    """The text that all names end with."""
    text, states = "", names.accepting
    while names.start not in states and len(text) < MAX_HOST_BYTES:
        before: dict[str, set[int]] = {}
        for source, steps in enumerate(names.table):
            for character, target in steps.items():
                if target in states:
                    before.setdefault(character, set()).add(source)
        if len(before) != 1:
            break
        ((character, sources),) = before.items()
        text, states = character + text, frozenset(sources)
    return text
