"""What a page may send and read without permission: the safelists of the Fetch standard (sections 2.2.1, 2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

Line = tuple[str, str]

SAFELISTED_METHODS = frozenset(("GET", "HEAD", "POST"))
# What `*` in Access-Control-Allow-Headers never covers.
NON_WILDCARD_REQUEST_HEADERS = frozenset(("authorization",))
FORBIDDEN_RESPONSE_HEADERS = frozenset(("set-cookie", "set-cookie2"))
SAFELISTED_RESPONSE_HEADERS = frozenset(
    ("cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma")
)
MAX_VALUE_BYTES = 128
MAX_VALUES_BYTES = 1024

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\"():<>?@\[\\\]{}\x7f]")
_LANGUAGES = re.compile(r"[0-9A-Za-z *,\-.;=]*", re.ASCII)
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - of a grammar
_ESSENCE = re.compile(rf"[\t ]*({_TOKEN}/{_TOKEN})[\t ]*(?:;.*)?", re.ASCII)
_SAFELISTED_ESSENCES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
_RANGE = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)


def is_safelisted_request_header(name: str, value: str) -> bool:
    """Whether a header is a CORS-safelisted request-header (Fetch, section 2.2.2)."""
    if len(value) > MAX_VALUE_BYTES:
        return False
    match name.lower():
        case "accept":
            return _UNSAFE.search(value) is None
        case "accept-language" | "content-language":
            return _LANGUAGES.fullmatch(value) is not None
        case "content-type":
            essence = None if _UNSAFE.search(value) else _ESSENCE.fullmatch(value)
            return essence is not None and essence[1].lower() in _SAFELISTED_ESSENCES
        case "range":
            span = _RANGE.fullmatch(value)
            return span is not None and (not span[2] or int(span[1]) <= int(span[2]))
    return False


def unsafe_request_header_names(headers: Iterable[Line]) -> list[str]:
    """The CORS-unsafe request-header names of a header list, lower case and sorted (Fetch, section 2.2.2)."""
    unsafe = set()
    safelisted = set()
    size = 0
    for name, value in headers:
        if is_safelisted_request_header(name, value):
            safelisted.add(name.lower())
            size += len(value)
        else:
            unsafe.add(name.lower())
    return sorted(unsafe | safelisted if size > MAX_VALUES_BYTES else unsafe)
