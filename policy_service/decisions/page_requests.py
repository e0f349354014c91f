"""What a browser makes of a page's request: the method that it sends, and the preflight that it sends first.

Standard library and the core only: the command line uses it as well.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from corspolicy.core.http_names import normalized_method, request_header_note

_SAFELISTED_METHODS = frozenset(("GET", "HEAD", "POST"))
_SAFELISTED_TYPES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
_MAX_SAFELISTED_BYTES = 128
_UNSAFE_BYTE = re.compile(r'[\x00-\x08\x0a-\x1f"():<>?@\[\\\]{}\x7f]')
_LANGUAGE = re.compile(r"[0-9A-Za-z *,\-.;=]*")
_SIMPLE_RANGE = re.compile(r"bytes=\d+-\d*", re.ASCII)
# What a browser, its developer tools or a proxy adds to a request without the page asking for it. The Fetch standard's
# forbidden names come on top.
_ADDED_ON_THE_WAY = frozenset(
    (
        "alt-used", "forwarded", "from", "http2-settings", "if-match", "if-modified-since",
        "if-none-match", "if-range", "if-unmodified-since", "priority", "purpose", "range", "save-data",
        "true-client-ip", "upgrade-insecure-requests", "user-agent", "x-client-data", "x-real-ip",
    )
)  # fmt: skip
_ADDED_PREFIXES = ("cdn-", "cf-", "x-amzn-", "x-envoy-", "x-forwarded-", "x-moz", "x-purpose")


def needs_preflight(method: str, unsafe_names: Iterable[str]) -> bool:
    """Whether a browser sends a preflight before a page's request, given its unsafe header names."""
    return normalized_method(method) not in _SAFELISTED_METHODS or any(unsafe_names)


def preflight_headers(origin: str, method: str, unsafe_names: Iterable[str]) -> dict[str, str]:
    """The headers of a preflight as browsers write them: lower-case names, sorted, no space (Fetch, section 4.8)."""
    headers = {"Origin": origin, "Access-Control-Request-Method": normalized_method(method)}
    names = ",".join(sorted({name.lower() for name in unsafe_names}))
    return headers | ({"Access-Control-Request-Headers": names} if names else {})


def unsafe_names(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The names among a page's headers that a preflight has to ask for (Fetch, section 2.2.2)."""
    return [name for name, value in headers if not _is_safelisted(name.lower(), value)]


def set_by_page(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a request on the wire that the page itself may have set."""
    values = {name.lower(): value for name, value in headers}
    # A reload adds the one, and developer tools with their cache off both.
    is_reload = "pragma" in values or values.get("cache-control") == "max-age=0"
    added = _ADDED_ON_THE_WAY | ({"cache-control", "pragma"} if is_reload else set())
    return [(name, value) for name, value in headers if not _is_added(name.lower(), added)]


def _is_added(name: str, added: Container[str]) -> bool:
    return name in added or name.startswith(_ADDED_PREFIXES) or is_never_allowed(name)


def is_never_allowed(name: str) -> bool:
    """Whether no page can set a request header: a forbidden name (Fetch, section 2.2.2)."""
    return _code(name) == "header_forbidden"


def is_response_only(name: str) -> bool:
    """Whether a header is one of CORS that only responses have (Fetch, section 3.3.3)."""
    return _code(name) == "header_response_only"


def _code(name: str) -> str | None:
    note = request_header_note(name)
    return None if note is None else note.code


def _is_safelisted(name: str, value: str) -> bool:
    if len(value.encode("utf-8", "surrogatepass")) > _MAX_SAFELISTED_BYTES:
        return False
    match name:
        case "accept":
            return not _UNSAFE_BYTE.search(value)
        case "accept-language" | "content-language":
            return _LANGUAGE.fullmatch(value) is not None
        case "content-type":
            essence = value.partition(";")[0].strip().lower()
            return essence in _SAFELISTED_TYPES and not _UNSAFE_BYTE.search(value)
        case "range":
            return _SIMPLE_RANGE.fullmatch(value) is not None
    return False
