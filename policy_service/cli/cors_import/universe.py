"""The origins that browsers send, and those that a pattern matches, as languages.

An authority is what follows `scheme://`. Its grammar is that of `Origin.parse`, but for limits of length and the
canonical form of IPv6 addresses, which a pattern can only spell out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from corspolicy.core.origins import DEFAULT_PORTS
from corspolicy.core.patterns import ANY
from policy_service.cli.cors_import.languages import Language, difference, intersection, union
from policy_service.cli.cors_import.machine import of

LABEL = "[a-z0-9_-]+"
# A label of a host name (RFC 1123, section 2.1); one of a domain has 63 bytes at most.
_NAME = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SHORT_NAME = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# What `*` is within a label, beside three other characters.
_WITHIN = "[a-z0-9-]+"
_SHORT_WITHIN = "[a-z0-9-]{1,60}"
_OPAQUE = "[a-z0-9_.-]+"
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_OCTET = "(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_IPV6 = r"\[[0-9a-f:]+\]"
_NUMBER = "(?:[0-9]+|0x[0-9a-f]*)"


def is_special(scheme: str) -> bool:
    """Whether the URL standard treats the scheme as special (section 3.1)."""
    return scheme.encode() in DEFAULT_PORTS


@cache
def parents(scheme: str) -> Language:
    """The domains that may follow `*.` in a pattern of the scheme."""
    return _domains() if is_special(scheme) else of(r"[a-z0-9_.-]*[a-z0-9_-][a-z0-9_.-]*")


@cache
def hosts(scheme: str) -> Language:
    """The hosts of a scheme's origins."""
    if not is_special(scheme):
        return of(f"{_OPAQUE}|{_IPV6}")
    return union((_domains(), of(rf"{_OCTET}(?:\.{_OCTET}){{3}}|{_IPV6}")))


@cache
def ports(scheme: str) -> Language:
    """The ports in a scheme's origins."""
    default = DEFAULT_PORTS.get(scheme.encode())
    return of(_PORT) if default is None else difference(of(_PORT), of(default.decode()))


@cache
def authorities(scheme: str) -> Language:
    """The authorities of a scheme's origins."""
    if not is_special(scheme):
        return of(f"(?:{_OPAQUE}|{_IPV6})(?::{_PORT})?")
    names = difference(
        of(rf"(?:(?:{LABEL}\.)*{LABEL}\.?|{_IPV6})(?::{_PORT})?"), of(rf"(?:{LABEL}\.)*{_NUMBER}\.?(?::{_PORT})?")
    )
    every = union((names, of(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?::{_PORT})?")))
    return difference(every, of(f".*:{DEFAULT_PORTS[scheme.encode()].decode()}"))


@cache
def subdomains(scheme: str) -> tuple[Language, ...]:
    """Host names with a final dot, as `*.` matches them: with labels of any length, and of valid length."""
    if not is_special(scheme):
        return (of(rf"{_OPAQUE}\."),)
    return of(rf"(?:{_NAME}\.)+"), of(rf"(?:{_SHORT_NAME}\.)+")


@cache
def within(scheme: str) -> tuple[Language, ...]:
    """What `*` matches within a label: of any length, and of a length that keeps the label valid."""
    return (of(_WITHIN), of(_SHORT_WITHIN)) if is_special(scheme) else (of(_WITHIN),)


def matched(scheme: str, patterns: Iterable[str]) -> Language:
    """The authorities that the patterns of this scheme match."""
    prefix = f"{scheme}://"
    own = [of(_matched(scheme, pattern.removeprefix(prefix))) for pattern in patterns if pattern.startswith(prefix)]
    return intersection(union(own), authorities(scheme))


def _matched(scheme: str, authority: str) -> str:
    host, port = authority, ""
    if not authority.endswith("]") and ":" in authority:
        host, _, port = authority.rpartition(":")
    tail = f"(?::{_PORT})?" if port == ANY else port and f":{port}"
    label, _, parent = host.partition(".")
    if host == ANY:
        return f"(?:{_OPAQUE}|{_IPV6}){tail}"
    if label == ANY:
        above = rf"(?:{LABEL}\.)+" if is_special(scheme) else rf"{_OPAQUE}\."
        return f"{above}{re.escape(parent)}{tail}"
    return f"{re.escape(host).replace(re.escape(ANY), _WITHIN)}{tail}"


@cache
def _domains() -> Language:
    return difference(of(rf"(?:{LABEL}\.)*{LABEL}\.?"), of(rf"(?:{LABEL}\.)*{_NUMBER}\.?"))
