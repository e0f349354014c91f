"""What header names tell: whether they are a request's or a response's, and which method goes with them."""

from __future__ import annotations

from collections.abc import Iterable

_OF_REQUESTS = frozenset(
    (
        "accept", "accept-encoding", "accept-language", "access-control-request-headers",
        "access-control-request-method", "authorization", "cookie", "host", "origin", "referer", "sec-fetch-dest",
        "sec-fetch-mode", "sec-fetch-site", "user-agent",
    )
)  # fmt: skip
_OF_CORS_REQUESTS = frozenset(("access-control-request-method", "origin"))
_OF_RESPONSES = frozenset(
    (
        "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
        "access-control-allow-origin", "access-control-expose-headers", "access-control-max-age", "age", "alt-svc",
        "cross-origin-resource-policy", "date", "etag", "expires", "last-modified", "location", "nel", "report-to",
        "server", "set-cookie", "strict-transport-security", "vary", "www-authenticate", "x-powered-by",
    )
)  # fmt: skip
# Pages set these by mistake, so that beside a request's headers they prove nothing.
_PERHAPS_OF_PAGES = frozenset(name for name in _OF_RESPONSES if name.startswith("access-control-"))


def is_request(names: Iterable[str]) -> bool:
    """Whether the names are a request's: one of CORS, or two others that responses do not have."""
    found = {name.lower() for name in names} & _OF_REQUESTS
    return len(found) > 1 or not found.isdisjoint(_OF_CORS_REQUESTS)


def is_response(names: Iterable[str]) -> bool:
    """Whether any of the names is one that responses have, and requests do not."""
    return any(name.lower() in _OF_RESPONSES for name in names)


def without_response(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers without a response's, where both were pasted as one list."""
    names = [name.lower() for name, _ in headers]
    proofs = [index for index, name in enumerate(names) if name in _OF_RESPONSES and name not in _PERHAPS_OF_PAGES]
    if not proofs:
        return headers
    # Browsers show a response's headers first.
    start = next((index for index in range(proofs[-1], len(names)) if names[index] in _OF_REQUESTS), 0)
    return [pair for pair, name in zip(headers[start:], names[start:], strict=True) if name not in _OF_RESPONSES]


def usual_method(headers: Iterable[tuple[str, str]]) -> str:
    """The method of a request of which only the headers are known: only preflights have this one."""
    is_preflight = any(name.lower() == "access-control-request-method" for name, _ in headers)
    return "OPTIONS" if is_preflight else "GET"
