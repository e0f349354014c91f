"""What a decision needs of a request's header lines: read in one pass, with nothing copied and nothing unbounded."""

from __future__ import annotations

from collections.abc import Iterable

from corspolicy.core.origins import MAX_ORIGIN_BYTES

Line = tuple[bytes, bytes]

MAX_METHOD_BYTES = 64
MAX_REQUEST_HEADERS_BYTES = 4096
CONDITIONAL = frozenset((b"if-none-match", b"if-modified-since", b"if-range"))
"""Request headers that make an app answer 304, or with a part (RFC 9110, sections 13.1 and 14.2)."""
MALFORMED = b","
"""What is read of a header that is repeated or too long: neither an origin nor a token."""

_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"
_ALONE = frozenset((b"origin", _METHOD))
_ALL = _ALONE | {_HEADERS}


def read_preflight(headers: Iterable[Line]) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Origin, Access-Control-Request-Method and -Headers of an OPTIONS request; None where it has no such line.

    A line that is repeated settles the decision, and the rest is only searched for what tells a preflight from other
    requests. The lines of Access-Control-Request-Headers are joined (RFC 9110, section 5.2) up to the limit, and by
    one line over it.
    """
    lines = iter(headers)
    origin = method = None
    joined: list[bytes] = []
    size = -1
    wanted = _ALL
    for name, value in lines:
        if name not in wanted:
            continue
        if name == _HEADERS:
            joined.append(value)
            size += len(value) + 1
            if size > MAX_REQUEST_HEADERS_BYTES:
                wanted = _ALONE
        elif name == _METHOD:
            if method is not None:
                return (_first(lines, b"origin", MAX_ORIGIN_BYTES) if origin is None else origin), MALFORMED, None
            method = value if len(value) <= MAX_METHOD_BYTES else MALFORMED
        else:
            if origin is not None:
                return MALFORMED, (_first(lines, _METHOD, MAX_METHOD_BYTES) if method is None else method), None
            origin = value if len(value) <= MAX_ORIGIN_BYTES else MALFORMED
    if len(joined) > 1:
        return origin, method, b",".join(joined)
    return origin, method, joined[0] if joined else None


def _first(lines: Iterable[Line], wanted: bytes, limit: int) -> bytes | None:
    value = next((value for name, value in lines if name == wanted), None)
    return value if value is None or len(value) <= limit else MALFORMED
