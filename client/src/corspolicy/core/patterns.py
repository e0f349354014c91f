"""Patterns of origins: what an entry of an allowlist may be.

A pattern is an origin in which `*` may be the leftmost label of the host, a part of that label, or the whole port;
behind a scheme that is not special in the URL standard also the whole host. `*` alone is every origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from corspolicy.core.origins import (
    DEFAULT_PORTS,
    DIGITS,
    HOST,
    LOWER,
    MAX_HOST_BYTES,
    MAX_LABEL_BYTES,
    MAX_SCHEME_BYTES,
    ends_in_number,
    ipv6_defect,
    is_ipv4,
    is_port,
    is_scheme,
    split_port,
)
from corspolicy.core.suggestions import MAX_TEXT_LENGTH, suggestions

ANY = "*"
MIN_FIXED_CHARACTERS = 3
"""How many characters stand at least beside a `*` within a label."""

# What nearly every entry of an allowlist looks like. One match spares it the search for a defect, which a list
# of 100,000 entries would feel; anything else takes that way.
_PLAIN = re.compile(r"(https?)://((?:\*\.)?(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{0,62})(?::([1-9]\d{3}|\*))?", re.ASCII)
# A character class, which the brackets of an IPv6 address (the whole host) are not.
_CHARACTER_CLASS = re.compile(r"(?<=.)\[|\](?!:|$)")
# Without anything in front: a search for that would read to the end of the text from each of its characters.
_PORT_LIST = re.compile(r":\[[\d\s,*]+\]", re.ASCII)
_PORT_LIST_LAST = re.compile(r"[^\[\]]*:\[[\d\s,*]+\]", re.ASCII)
_PLACEHOLDER = re.compile(r"\$\{|\$\(|\$[A-Z_]|\{\{|%\w+%|<[\w -]+>|\{[A-Za-z_]", re.ASCII)
_WHERE_WILDCARDS_ARE = (
    "`*` can be the leftmost label (https://*.example.com), a part of it beside at least three other characters "
    "(https://preview-*.example.com) or the port"
)

_SEVERAL = ("origin_several", "origin_port_list")

Defect = tuple[str, str]


class InvalidOrigin(ValueError):
    """Why a text is not a pattern, with the nearest texts that are: several where it holds several origins."""

    def __init__(self, code: str, message: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.suggestions = suggestions

    @property
    def suggestion(self) -> str | None:
        """The nearest pattern, if there is one."""
        return self.suggestions[0] if self.suggestions else None


class OriginPattern(NamedTuple):
    """One pattern of an allowlist, in canonical form: `text` is also its key in an index."""

    text: str
    scheme: str = ""
    host: str = ""
    port: str = ""

    @property
    def is_any(self) -> bool:
        """Whether this is `*`, which allows every origin anonymously."""
        return self.text == ANY

    @property
    def is_any_host(self) -> bool:
        """Whether `*` is the whole host, as in `moz-extension://*`."""
        return self.host == ANY

    @property
    def parent(self) -> str | None:
        """The domain under which the leftmost label, or a part of it, is `*`; None for a single host."""
        label, dot, parent = self.host.partition(".")
        return parent if dot and "*" in label else None

    @property
    def is_network(self) -> bool:
        """Whether pages of this scheme come over the network, rather than from an app or an extension."""
        return self.scheme.encode() in DEFAULT_PORTS

    @property
    def is_loopback(self) -> bool:
        """Whether a browser treats the host as this machine (Secure Contexts, section 3.1)."""
        name = (self.parent or self.host).rstrip(".")
        return name == "localhost" or name.endswith(".localhost") or name == "[::1]" or _is_loopback_ipv4(name)

    @classmethod
    def parse(cls, text: str, to_ascii: Callable[[str], str] | None = None) -> OriginPattern:
        """Read one entry of an allowlist.

        `to_ascii` turns a Unicode host into A-labels (UTS #46) for the suggestion; without it there is none for such
        a host. Raises InvalidOrigin, with the reason, for anything that no browser would send.
        """
        if text == ANY:
            return cls(ANY)
        plain = _PLAIN.fullmatch(text)
        if plain is not None and len(plain[2]) <= MAX_HOST_BYTES:
            return cls(text, plain[1], plain[2], plain[3] or "")
        found = defect(text)
        if found is not None:
            code, message = found
            meant = tuple(dict.fromkeys(each for each in suggestions(text, to_ascii) if defect(each) is None))
            raise InvalidOrigin(code, message, meant if len(meant) == 1 or code in _SEVERAL else ())
        scheme, _, authority = text.partition("://")
        host, port = split_port(authority.encode())
        return cls(text, scheme, host.decode(), "" if port is None else port.decode())


def others_with_access(pattern: OriginPattern, is_public_suffix: Callable[[str], bool] | None) -> str | None:
    """Who else can have an origin that the pattern matches, as a sentence; None if no one."""
    if pattern.is_any_host:
        return f"`*` is every host of {pattern.scheme}, whoever made the page."
    parent = pattern.parent
    if is_public_suffix is None or parent is None or not pattern.is_network or pattern.is_loopback:
        return None
    return f"Anyone can register a name under {parent}." if is_public_suffix(parent.rstrip(".")) else None


def defect(text: str) -> Defect | None:
    """The first reason, as (code, message), why `text` is not a pattern; None if it is one."""
    found = _text_defect(text)
    if found is not None:
        return found
    scheme, separator, authority = text.partition("://")
    if scheme == "file" or text.startswith("file:"):
        return "origin_file", "Browsers send `null` for file: pages, which cannot be allowed: serve them over http."
    if not separator:
        return "origin_scheme_missing", "Start the origin with its scheme, such as https://."
    if len(scheme) > MAX_SCHEME_BYTES:
        return "origin_scheme_too_long", f"The scheme is longer than {MAX_SCHEME_BYTES} bytes."
    if not scheme.isascii() or not is_scheme(scheme.encode()):
        return "origin_scheme_invalid", "Invalid scheme: lower-case letters, digits, `+`, `-` and `.` only."
    return _authority_defect(scheme, authority)


def _text_defect(text: str) -> Defect | None:
    """What is wrong with the text as a whole, before it is read as an origin."""
    if len(text) > MAX_TEXT_LENGTH:
        message = (
            f"The text is longer than {MAX_TEXT_LENGTH} characters, and a host has at most {MAX_HOST_BYTES} bytes: "
            "write each origin as an entry of its own."
        )
        return "origin_host_too_long", message
    if not text.strip():
        return "origin_empty", "The entry is empty: write an origin such as https://app.example.com."
    if text == "null":
        return "origin_null", "Any sandboxed page sends `null`: to allow it is to allow everyone."
    if len(text) > 1 and text[0] in "\"'`“‘" and text[-1] in "\"'`”’":
        return "origin_quoted", "Remove the quotes inside the value."
    if _PLACEHOLDER.search(text):
        return "origin_placeholder", "A placeholder was not replaced: write the origin itself."
    if _holds_several(text):
        return "origin_several", "Several values or a list in one text: write each origin as an entry of its own."
    if text.strip(" \t\r\n,;") != text:
        return "origin_stray_characters", "Remove the white space, comma or semicolon around the origin."
    if _PORT_LIST_LAST.fullmatch(text.partition("://")[2] or text):
        return "origin_port_list", "Write one entry for each port, or `:*` for any port."
    if _looks_like_regex(text):
        return "origin_regex", "Regular expressions are not supported. Write `https://*.example.com` for subdomains."
    return None


def _holds_several(text: str) -> bool:
    if any(mark in text for mark in "\\()|{}^$") or _PORT_LIST.search(text):
        return False
    if text[0] == "[" and text[-1] == "]" and "://" in text:
        return True
    parts = text.replace(",", " ").replace(";", " ").split()
    with_scheme = sum("://" in part for part in parts)
    return len(parts) > 1 and ("," in text or ";" in text or with_scheme in (0, len(parts)))


def _looks_like_regex(text: str) -> bool:
    authority = re.split("[/?#]", text.partition("://")[2] or text, maxsplit=1)[0]
    return (
        text[0] == "^"
        or (text[0] == "/" and text[:2] != "//")
        or text.startswith(".*")
        or "?://" in text
        or "://.*" in text
        or any(mark in authority for mark in "\\()|{}$^+")
        or _CHARACTER_CLASS.search(authority) is not None
    )


def _authority_defect(scheme: str, authority: str) -> Defect | None:
    for character, code, what in (
        ("#", "origin_fragment", "fragment"),
        ("?", "origin_query", "query"),
        ("/", "origin_path", "path or trailing slash"),
        ("@", "origin_userinfo", "user name or password"),
    ):
        if character in authority:
            return code, f"An origin has no {what}: it is scheme, host and port only."
    if any(character.isspace() or ord(character) < 0x20 for character in authority):
        return "origin_host_invalid", "Remove white space and control characters."
    if not authority.isascii():
        return "origin_host_unicode", "Write the host in A-labels (xn--…), as browsers send it."
    host, port = split_port(authority.encode())
    if port is not None and port != b"*":
        if not is_port(port):
            return "origin_port_invalid", "Invalid port: 1–65535 without leading zeros, or `*` for any port."
        if DEFAULT_PORTS.get(scheme.encode()) == port:
            return "origin_port_default", f"Browsers leave out {port.decode()}, the default port of {scheme}."
    return _host_defect(host, scheme.encode() in DEFAULT_PORTS)


def _host_defect(host: bytes, is_special: bool) -> Defect | None:
    if not host:
        return "origin_host_missing", "The host is missing."
    if host.startswith(b"["):
        if not host.endswith(b"]"):
            return "origin_ipv6_invalid", "Close the bracket of the IPv6 address."
        return ipv6_defect(host[1:-1])
    if host == b"*":
        message = "`*` cannot be the whole host of a web origin: write `*` alone to allow every origin."
        return ("origin_wildcard_misplaced", message) if is_special else None
    label, _, parent = host.partition(b".")
    is_wildcard = b"*" in label
    if is_wildcard and (found := _wildcard_defect(label, parent)) is not None:
        return found
    domain = host.replace(b"*", b"x", 1) if is_wildcard else host
    if b"*" in domain:
        return "origin_wildcard_misplaced", f"{_WHERE_WILDCARDS_ARE}, nothing else."
    if domain != domain.lower():
        return "origin_host_upper_case", "Browsers send the host in lower case."
    if domain.translate(None, HOST):
        return "origin_host_invalid", "Invalid host: letters, digits, `-`, `_` and dots only."
    if len(host) > MAX_HOST_BYTES:
        return "origin_host_too_long", f"The host is longer than {MAX_HOST_BYTES} bytes."
    return _domain_defect(domain, is_wildcard) if is_special else None


def _wildcard_defect(label: bytes, parent: bytes) -> Defect | None:
    """What is wrong with a leftmost label that has a `*`."""
    fixed = label.replace(b"*", b"", 1)
    is_readable = b"*" not in fixed and not fixed.lower().translate(None, LOWER + DIGITS + b"-_")
    if not parent.strip(b".") or (fixed and is_readable and len(fixed) < MIN_FIXED_CHARACTERS):
        return "origin_wildcard_misplaced", f"{_WHERE_WILDCARDS_ARE}, and a domain has to follow."
    return None


def _domain_defect(domain: bytes, is_wildcard: bool) -> Defect | None:
    labels = domain.split(b".")
    if not labels[-1] and len(labels) > 1:
        labels.pop()
    if b"" in labels:
        return "origin_label_empty", "The host has an empty label: two dots in a row, or one in front."
    if len(max(labels, key=len)) > MAX_LABEL_BYTES:
        return "origin_label_too_long", f"A label of the host is longer than {MAX_LABEL_BYTES} bytes."
    if ends_in_number(labels[-1]):
        if is_wildcard:
            return "origin_wildcard_misplaced", "An address has no subdomains: `*` cannot be a part of it."
        if not is_ipv4(domain):
            return "origin_ipv4_not_canonical", "Write an IPv4 address as four decimal numbers, such as 10.0.0.1."
    return None


def _is_loopback_ipv4(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False
