"""Methods and header names: what a token is, and which of them a policy can have.

The lists are those of the Fetch standard (sections 2.2.1, 2.2.2 and 3.3) and of RFC 9110.
"""

from __future__ import annotations

from typing import NamedTuple

_TCHAR = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NORMALIZED_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"))
_FORBIDDEN_METHODS = frozenset(("CONNECT", "TRACE", "TRACK"))
_FORBIDDEN_REQUEST_HEADERS = frozenset(
    (
        "accept-charset", "accept-encoding", "access-control-request-headers", "access-control-request-method",
        "access-control-request-private-network", "connection", "content-length", "cookie", "cookie2", "date",
        "dnt", "expect", "host", "keep-alive", "origin", "referer", "set-cookie", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    )
)  # fmt: skip
_RESPONSE_ONLY_CORS_HEADERS = frozenset(
    (
        "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
        "access-control-allow-origin", "access-control-allow-private-network", "access-control-expose-headers",
        "access-control-max-age",
    )
)  # fmt: skip
_REQUEST_ONLY_HEADERS = frozenset(
    (
        "accept-charset", "accept-language", "access-control-request-headers",
        "access-control-request-method", "access-control-request-private-network", "cookie",
        "cookie2", "dnt", "expect", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "max-forwards", "origin", "proxy-authorization", "range", "referer", "te",
        "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "upgrade-insecure-requests",
        "user-agent",
    )
)  # fmt: skip
# The only ones that browsers hide, whatever is exposed.
_HIDDEN_RESPONSE_HEADERS = frozenset(("set-cookie", "set-cookie2"))


class Note(NamedTuple):
    """What there is to say of a name: an error, or a warning."""

    code: str
    message: str
    is_error: bool = True
    suggestion: str | None = None


def is_token(value: bytes) -> bool:
    """Whether `value` is a token (RFC 9110, section 5.6.2)."""
    return bool(value) and not value.translate(None, _TCHAR)


def normalized_method(method: str) -> str:
    """The method that browsers send for `method` (Fetch, section 2.2.1)."""
    return method.upper() if method.upper() in _NORMALIZED_METHODS else method


def method_note(method: str) -> Note | None:
    """What there is to say of `method` in allow_methods."""
    if not _is_token(method):
        return Note("method_not_a_token", "Invalid method: write a token such as PUT.")
    if method.upper() in _FORBIDDEN_METHODS:
        return Note("method_forbidden", f"Browsers never let a page send {method.upper()}.")
    if method == "patch":
        return Note("method_case", "Methods are case-sensitive: `patch` is not `PATCH`.", False, "PATCH")
    return None


def request_header_note(name: str) -> Note | None:
    """What there is to say of the lower-case `name` in allow_headers."""
    if not _is_token(name):
        return _NOT_A_HEADER
    if name in _FORBIDDEN_REQUEST_HEADERS or name.startswith(("proxy-", "sec-")):
        return Note("header_forbidden", f"Browsers never let a page set {name}.")
    if name in _RESPONSE_ONLY_CORS_HEADERS:
        message = f"{name} is a response header; a page that sends it does so by mistake."
        return Note("header_response_only", message, is_error=False)
    return None


def exposed_header_note(name: str, credentials: bool) -> Note | None:
    """What there is to say of the lower-case `name` in expose_headers."""
    if not _is_token(name):
        return _NOT_A_HEADER
    if name in _HIDDEN_RESPONSE_HEADERS:
        return Note("header_forbidden", f"Browsers never show {name} to a page.")
    if name == "*" and credentials:
        message = (
            "Pages that send credentials would read only a header named `*`; pages that send none would read all. "
            "List the headers."
        )
        return Note("expose_any_with_credentials", message)
    if name in _REQUEST_ONLY_HEADERS:
        message = f"{name} is a request header: responses have none to expose."
        return Note("header_request_only", message, is_error=False)
    return None


def _is_token(value: str) -> bool:
    return value.isascii() and is_token(value.encode())


_NOT_A_HEADER = Note("header_not_a_token", "Invalid header name: write a token such as Content-Type.")
