"""Origins and origin patterns: parsing, canonical form, lookup.

An origin is what a browser puts into the `Origin` header (RFC 6454, section 6.2; HTML, "serialization of
an origin"). A pattern is an entry of an allowlist: an origin in which the leftmost label of the host or
the whole port may be `*`, or `*` alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_ORIGIN_BYTES = 330
MAX_SCHEME_BYTES = 64
MAX_HOST_BYTES = 253
MAX_LABEL_BYTES = 63
DEFAULT_PORTS = {b"http": b"80", b"https": b"443", b"ws": b"80", b"wss": b"443", b"ftp": b"21"}

ANY = "*"

_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_SCHEME = _LOWER + _DIGITS + b"+-."
_HOST = _LOWER + _DIGITS + b"-_."
_HEX = _DIGITS + b"abcdef"
# What nearly every entry of an allowlist looks like. One match spares it the search for a defect, which a list
# of 100,000 entries would feel; anything else takes that way.
_PLAIN = re.compile(r"(https?)://((?:\*\.)?(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{0,62})(?::([1-9]\d{3}|\*))?", re.ASCII)
# A character class, which the brackets of an IPv6 address (the whole host) are not.
_CHARACTER_CLASS = re.compile(r"(?<=.)\[|\](?!:|$)")


class Origin(NamedTuple):
    """A tuple origin in canonical form; `port` is empty where it is the scheme's default."""

    scheme: bytes
    host: bytes
    port: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Origin | None:
        """Read the value of an `Origin` header; None unless it is exactly what a browser would send.

        Strict on purpose (RFC 6454, section 7.1 has no room for variants): lower case, A-labels, canonical
        addresses, no default port, at most 330 bytes. Never raises, and its cost is bounded by that length.
        """
        if len(raw) > MAX_ORIGIN_BYTES:
            return None
        scheme, separator, authority = raw.partition(b"://")
        if not separator or not _is_scheme(scheme):
            return None
        host, port = split_port(authority)
        if port is None:
            port = b""
        elif not _is_port(port) or DEFAULT_PORTS.get(scheme) == port:
            return None
        return cls(scheme, host, port) if is_host(host) else None


class InvalidOrigin(ValueError):
    """Why a pattern cannot stand in an allowlist, with the nearest text that could, if there is one."""

    def __init__(self, code: str, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.suggestion = suggestion


class OriginPattern(NamedTuple):
    """One pattern of an allowlist, in canonical form: `text` is also its key in an index."""

    text: str
    scheme: str = ""
    host: str = ""
    port: str = ""

    @property
    def is_any(self) -> bool:
        """Whether this is `*`, which admits every origin anonymously."""
        return self.text == ANY

    @property
    def parent(self) -> str | None:
        """The domain under which `*.` admits every subdomain, or None for a single host."""
        return self.host[2:] if self.host.startswith("*.") else None

    @property
    def is_loopback(self) -> bool:
        """Whether a browser treats the host as this machine (Secure Contexts, section 3.1)."""
        host = self.parent or self.host
        name = host.rstrip(".")
        return name == "localhost" or name.endswith(".localhost") or name == "[::1]" or _is_loopback_ipv4(name)

    @classmethod
    def parse(cls, text: str, to_ascii: Callable[[str], str] | None = None) -> OriginPattern:
        """Read one entry of an allowlist.

        `to_ascii` turns a Unicode host into A-labels (UTS #46) for the suggestion; without it a Unicode host
        is refused without one. Raises InvalidOrigin for whatever no browser would send, with the reason.
        """
        if text == ANY:
            return cls(ANY)
        plain = _PLAIN.fullmatch(text)
        if plain is not None and len(plain[2]) <= MAX_HOST_BYTES:
            return cls(text, plain[1], plain[2], plain[3] or "")
        found = _defect(text)
        if found is not None:
            code, message = found
            raise InvalidOrigin(code, message, _suggestion(text, to_ascii))
        scheme, _, authority = text.partition("://")
        host, port = split_port(authority.encode())
        return cls(text, scheme, host.decode(), "" if port is None else port.decode())


def candidates(origin: Origin) -> Iterator[bytes]:
    """The texts of all patterns that would admit `origin`, most specific first, `*` left out.

    At most two per label of the host, so that a lookup costs the same however long the allowlist is.
    """
    scheme, host, port = origin
    suffix = b":" + port if port else b""
    prefix = scheme + b"://"
    yield prefix + host + suffix
    yield prefix + host + b":*"
    if host.startswith(b"["):
        return
    dot = host.find(b".")
    while 0 <= dot < len(host) - 1:
        parent = prefix + b"*" + host[dot:]
        yield parent + suffix
        yield parent + b":*"
        dot = host.find(b".", dot + 1)


def split_port(authority: bytes) -> tuple[bytes, bytes | None]:
    """Split `host:port`; the port is None where there is no colon. Brackets of an IPv6 host are kept."""
    if authority.endswith(b"]") or b":" not in authority:
        return authority, None
    host, _, port = authority.rpartition(b":")
    return host, port


def is_host(host: bytes) -> bool:
    """Whether `host` is a domain or an address in the form in which browsers serialize it (URL, section 3.5)."""
    if host.startswith(b"["):
        return host.endswith(b"]") and _ipv6_defect(host[1:-1]) is None
    if not host or host.translate(None, _HOST) or len(host) > MAX_HOST_BYTES:
        return False
    labels = host.split(b".")
    if not labels[-1]:
        labels.pop()
    if b"" in labels or not labels or (len(host) > MAX_LABEL_BYTES and len(max(labels, key=len)) > MAX_LABEL_BYTES):
        return False
    return not _ends_in_number(labels[-1]) or _is_ipv4(host)


def _is_scheme(scheme: bytes) -> bool:
    return (
        0 < len(scheme) <= MAX_SCHEME_BYTES
        and scheme[0] in _LOWER
        and not scheme.translate(None, _SCHEME)
        and scheme != b"file"
    )


def _is_port(port: bytes) -> bool:
    return 0 < len(port) <= 5 and not port.translate(None, _DIGITS) and port[0] != 0x30 and int(port) <= 65535


def _ends_in_number(label: bytes) -> bool:
    # The URL standard reads such a host as an IPv4 address and nothing else (section 3.5).
    return not label.translate(None, _DIGITS) or (label[:2] == b"0x" and not label[2:].translate(None, _HEX))


def _is_ipv4(host: bytes) -> bool:
    try:
        return str(ipaddress.IPv4Address(host.decode())) == host.decode()
    except ValueError:
        return False


def _is_loopback_ipv4(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def _ipv6_defect(address: bytes) -> tuple[str, str] | None:
    if b"%" in address:
        return "origin_ipv6_zone", "An origin has no IPv6 zone id."
    try:
        parsed = ipaddress.IPv6Address(address.decode())
    except ValueError:
        return "origin_ipv6_invalid", "This is no IPv6 address."
    if parsed.ipv4_mapped is not None:
        return "origin_ipv6_mapped", "Write the IPv4 address itself, not its IPv6-mapped form."
    if parsed.compressed.encode() != address:
        return "origin_ipv6_not_canonical", "Browsers send the compressed lower-case form of an IPv6 address."
    return None


def _defect(text: str) -> tuple[str, str] | None:
    """The first reason, as (code, message), why `text` is no pattern; None if it is one."""
    if not text:
        return "origin_empty", "An entry must not be empty."
    if text == "null":
        return "origin_null", "`null` is sent by any sandboxed page: admitting it admits everybody."
    if _looks_like_regex(text):
        return "origin_regex", "Regular expressions are not accepted. Write `https://*.example.com` for subdomains."
    scheme, separator, authority = text.partition("://")
    if scheme == "file" or text.startswith("file:"):
        return "origin_file", "Browsers send `null` for file: pages; it cannot be admitted."
    if not separator:
        return "origin_scheme_missing", "An origin starts with a scheme, such as https://."
    if len(scheme) > MAX_SCHEME_BYTES:
        return "origin_scheme_too_long", f"The scheme is longer than {MAX_SCHEME_BYTES} bytes."
    if not scheme.isascii() or not _is_scheme(scheme.encode()):
        return "origin_scheme_invalid", "A scheme is lower-case letters, digits, `+`, `-` and `.`, and has no `*`."
    return _authority_defect(scheme, authority)


def _looks_like_regex(text: str) -> bool:
    authority = re.split("[/?#]", text.partition("://")[2] or text, maxsplit=1)[0]
    return (
        text[0] in "^/"
        or text.startswith(".*")
        or "?://" in text
        or "://.*" in text
        or any(mark in authority for mark in "\\()|{}$^+")
        or _CHARACTER_CLASS.search(authority) is not None
    )


def _authority_defect(scheme: str, authority: str) -> tuple[str, str] | None:
    for character, code, what in (
        ("#", "origin_fragment", "fragment"),
        ("?", "origin_query", "query"),
        ("/", "origin_path", "path or trailing slash"),
        ("@", "origin_userinfo", "user name or password"),
    ):
        if character in authority:
            return code, f"An origin has no {what}: it is scheme, host and port only."
    if any(character.isspace() or ord(character) < 0x20 for character in authority):
        return "origin_host_invalid", "An origin has no white space and no control characters."
    if not authority.isascii():
        return "origin_host_unicode", "Browsers send a Unicode host as A-labels (xn--…): write that form."
    host, port = split_port(authority.encode())
    if port is not None and port != b"*":
        if not _is_port(port):
            return "origin_port_invalid", "A port is 1 to 65535 without leading zeros, or `*` for any port."
        if DEFAULT_PORTS.get(scheme.encode()) == port:
            return "origin_port_default", f"Browsers leave out {port.decode()}, the default port of {scheme}."
    return _host_defect(host)


def _host_defect(host: bytes) -> tuple[str, str] | None:
    if not host:
        return "origin_host_missing", "An origin needs a host."
    if host.startswith(b"["):
        if not host.endswith(b"]"):
            return "origin_ipv6_invalid", "The bracket of the IPv6 address is not closed."
        return _ipv6_defect(host[1:-1])
    domain = host[2:] if host.startswith(b"*.") else host
    if b"*" in domain:
        return (
            "origin_wildcard_misplaced",
            "`*` stands for the whole leftmost label (https://*.example.com) or the whole port, nothing else.",
        )
    if domain != domain.lower():
        return "origin_host_upper_case", "Browsers send the host in lower case."
    if domain.translate(None, _HOST):
        return "origin_host_invalid", "A host is letters, digits, `-`, `_` and dots."
    if len(host) > MAX_HOST_BYTES:
        return "origin_host_too_long", f"The host is longer than {MAX_HOST_BYTES} bytes."
    labels = domain.split(b".")
    if not labels[-1] and len(labels) > 1:
        labels.pop()
    if b"" in labels:
        return "origin_label_empty", "The host has an empty label (two dots in a row, or one in front)."
    if len(max(labels, key=len)) > MAX_LABEL_BYTES:
        return "origin_label_too_long", f"A label of the host is longer than {MAX_LABEL_BYTES} bytes."
    if _ends_in_number(labels[-1]):
        if host != domain:
            return "origin_wildcard_misplaced", "An address has no subdomains: `*.` cannot stand before it."
        if not _is_ipv4(host):
            return (
                "origin_ipv4_not_canonical",
                "Browsers send IPv4 addresses as four decimal numbers, such as 10.0.0.1.",
            )
    return None


def _suggestion(text: str, to_ascii: Callable[[str], str] | None) -> str | None:
    """What the author of `text` most likely meant, if that is a pattern; else None."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "https", text.strip()
    if not scheme.isascii():
        return None
    scheme = scheme.lower()
    for end in "/?#":
        rest = rest.partition(end)[0]
    rest = rest.rpartition("@")[2]
    host, port = _split_port_text(rest)
    host = _suggested_host(host, to_ascii)
    if not host.isascii() or not port.isascii():
        return None
    if port.isdigit():
        port = port.lstrip("0")
    if DEFAULT_PORTS.get(scheme.encode()) == port.encode():
        port = ""
    meant = f"{scheme}://{host}" + (f":{port}" if port else "")
    if not (separator or "." in host) or _defect(meant) is not None:
        return None
    return meant if is_valid_domain(host, to_ascii) else None


def is_valid_domain(host: str, to_ascii: Callable[[str], str] | None) -> bool:
    """Whether the A-labels of `host` are valid, as far as `to_ascii` tells."""
    if to_ascii is None or "xn--" not in host:
        return True
    domain = host.removeprefix("*.").rstrip(".")
    try:
        return to_ascii(domain) == domain
    except ValueError:
        return False


def _split_port_text(authority: str) -> tuple[str, str]:
    if authority.endswith("]") or ":" not in authority:
        return authority, ""
    host, _, port = authority.rpartition(":")
    return host, port


def _suggested_host(host: str, to_ascii: Callable[[str], str] | None) -> str:
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
        except ValueError:
            return host
        return str(address.ipv4_mapped or f"[{address.compressed}]")
    if not host.isascii() and to_ascii is not None and len(host) <= MAX_ORIGIN_BYTES:
        wildcard, domain = ("*.", host[2:]) if host.startswith("*.") else ("", host)
        try:
            return wildcard + to_ascii(domain)
        except ValueError:
            return host
    return f"*{host}" if host.startswith(".") else host.lower()
