"""Origins: parsing, and the form in which browsers send them.

An origin is what a browser puts into the `Origin` header (RFC 6454, section 6.2; HTML, "serialization of an origin").
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple

MAX_ORIGIN_BYTES = 330
MAX_SCHEME_BYTES = 64
MAX_HOST_BYTES = 253
MAX_LABEL_BYTES = 63
DEFAULT_PORTS = {b"http": b"80", b"https": b"443", b"ws": b"80", b"wss": b"443", b"ftp": b"21"}
"""The special schemes of the URL standard (section 3.1) that origins have, each with its default port."""

LOWER = b"abcdefghijklmnopqrstuvwxyz"
DIGITS = b"0123456789"
HOST = LOWER + DIGITS + b"-_."
_SCHEME = LOWER + DIGITS + b"+-."
_HEX = DIGITS + b"abcdef"


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
        if not separator or not is_scheme(scheme):
            return None
        host, port = split_port(authority)
        if port is None:
            port = b""
        elif not is_port(port) or DEFAULT_PORTS.get(scheme) == port:
            return None
        is_valid = is_host(host) if scheme in DEFAULT_PORTS else is_opaque_host(host)
        return cls(scheme, host, port) if is_valid else None


def split_port(authority: bytes) -> tuple[bytes, bytes | None]:
    """Split `host:port`; the port is None where there is no colon. Brackets of an IPv6 host are kept."""
    if authority.endswith(b"]") or b":" not in authority:
        return authority, None
    host, _, port = authority.rpartition(b":")
    return host, port


def is_scheme(scheme: bytes) -> bool:
    """Whether an origin can have `scheme`: the pages of `file:` have the origin `null`."""
    return (
        0 < len(scheme) <= MAX_SCHEME_BYTES
        and scheme[0] in LOWER
        and not scheme.translate(None, _SCHEME)
        and scheme != b"file"
    )


def is_port(port: bytes) -> bool:
    """Whether `port` is 1 to 65535, without leading zeros."""
    return 0 < len(port) <= 5 and not port.translate(None, DIGITS) and port[0] != 0x30 and int(port) <= 65535


def is_host(host: bytes) -> bool:
    """Whether `host` is a domain or an address in the form in which browsers serialize it (URL, section 3.5)."""
    if host.startswith(b"["):
        return _is_bracketed_ipv6(host)
    if not host or host.translate(None, HOST) or len(host) > MAX_HOST_BYTES:
        return False
    labels = host.split(b".")
    if not labels[-1]:
        labels.pop()
    if b"" in labels or not labels or (len(host) > MAX_LABEL_BYTES and len(max(labels, key=len)) > MAX_LABEL_BYTES):
        return False
    return not ends_in_number(labels[-1]) or is_ipv4(host)


def is_opaque_host(host: bytes) -> bool:
    """Whether `host` can follow a scheme that is not special (URL, section 3.5): Electron sends `app://.`, say."""
    if host.startswith(b"["):
        return _is_bracketed_ipv6(host)
    return 0 < len(host) <= MAX_HOST_BYTES and not host.translate(None, HOST)


def ends_in_number(last_label: bytes) -> bool:
    """Whether the URL standard reads a host with this last label as an IPv4 address and nothing else (section 3.5)."""
    return not last_label.translate(None, DIGITS) or (
        last_label[:2] == b"0x" and not last_label[2:].translate(None, _HEX)
    )


def is_ipv4(host: bytes) -> bool:
    """Whether `host` is an IPv4 address in canonical form."""
    try:
        return str(ipaddress.IPv4Address(host.decode())) == host.decode()
    except ValueError:
        return False


def ipv6_defect(address: bytes) -> tuple[str, str] | None:
    """The reason, as (code, message), why `address` is not an IPv6 address as browsers send it; None if it is one."""
    if b"%" in address:
        return "origin_ipv6_zone", "Remove the IPv6 zone id: browsers never send it."
    try:
        parsed = ipaddress.IPv6Address(address.decode())
    except ValueError:
        return "origin_ipv6_invalid", "Invalid IPv6 address."
    if parsed.ipv4_mapped is not None:
        return "origin_ipv6_mapped", "Write the IPv4 address itself, not its IPv6-mapped form."
    if parsed.compressed.encode() != address:
        return "origin_ipv6_not_canonical", "Write the IPv6 address compressed and in lower case, as browsers send it."
    return None


def is_valid_domain(host: str, to_ascii: Callable[[str], str] | None) -> bool:
    """Whether the A-labels of `host` are valid, as far as `to_ascii` tells."""
    if to_ascii is None or "xn--" not in host:
        return True
    domain = host.removeprefix("*.").rstrip(".")
    try:
        return to_ascii(domain) == domain
    except ValueError:
        return False


def _is_bracketed_ipv6(host: bytes) -> bool:
    return host.endswith(b"]") and ipv6_defect(host[1:-1]) is None
