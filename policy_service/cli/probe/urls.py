"""URLs as browsers compare and people read them."""

from __future__ import annotations

import ipaddress

import httpx


def origin_of(url: httpx.URL) -> str:
    """A URL's origin, serialized: scheme, host, and the port where it is not the scheme's own."""
    host = url.raw_host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{host}" + ("" if url.port is None else f":{url.port}")


def parse(text: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """An absolute URL without its fragment, relative to `base` if there is one; None if it is invalid."""
    try:
        url = httpx.URL(text) if base is None else base.join(text)
        # An invalid A-label raises only here, where the host is decoded.
        is_valid = b"%" not in url.raw_host and (bool(url.host) or url.scheme not in ("http", "https"))
        return url.copy_with(fragment=None) if is_valid else None
    except (httpx.InvalidURL, ValueError):
        return None


def is_loopback(url: httpx.URL) -> bool:
    """Whether a URL is of this machine, which browsers trust without TLS."""
    host = url.raw_host.decode("ascii").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_query(url: str) -> str:
    """A URL for people and logs: queries and fragments may hold secrets, and so may user names."""
    parsed = parse(url)
    if parsed is None:
        return "an invalid URL"
    ending = "?…" if parsed.query else ""
    return str(parsed.copy_with(query=None, userinfo=b"")) + ending
