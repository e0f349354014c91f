"""The Origin of a page's request that was pasted without one, from its Referer.

A browser adds Origin when it sends a request. It is missing from one that was never sent because its preflight was
denied, which is the one that people paste, and from "Copy as fetch".
"""

from __future__ import annotations

from urllib.parse import urlsplit

from corspolicy.core.origins import DEFAULT_PORTS
from policy_service.decisions.pastes.model import FETCH_CALL, PastedRequest


def missing_origin(request: PastedRequest) -> str | None:
    """The Origin that a browser adds; None where the request has one, or would go without."""
    referer = request.value("referer")
    if referer is None or request.value("origin") is not None or request.is_preflight:
        return None
    mode, site = request.value("sec-fetch-mode"), request.value("sec-fetch-site")
    if mode not in (None, "cors") or (site is not None and request.form != FETCH_CALL):
        return None
    origin = _origin_of(referer)
    return None if origin is None or _is_of_target(origin, request) else origin


def _is_of_target(origin: str, request: PastedRequest) -> bool:
    """Whether the request goes to the origin itself, for which browsers send no Origin with GET."""
    if request.form == FETCH_CALL and request.url is not None and request.url.startswith("/"):
        return True
    target = _origin_of(request.url or "")
    if target is not None:
        return target == origin
    return origin.partition("://")[2] == request.value("host")


def _origin_of(url: str) -> str | None:
    """The serialization of a URL's origin (HTML, "serialization of an origin")."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host:
        return None
    host = f"[{host}]" if ":" in host else host
    is_default = port is None or DEFAULT_PORTS.get(parts.scheme.encode()) == b"%d" % port
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{port}"
