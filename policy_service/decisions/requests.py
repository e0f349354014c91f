"""The request to decide on, as on the wire: from its parts, or from a paste."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from corspolicy.core.request import Line
from policy_service.decisions.inputs import bytes_of
from policy_service.decisions.page_requests import needs_preflight, preflight_headers, set_by_page, unsafe_names
from policy_service.decisions.pastes.model import PastedRequest, Unreadable
from policy_service.decisions.pastes.read import WHAT_TO_PASTE, read
from policy_service.decisions.schemas import DecisionRequest
from policy_service.errors import ErrorItem, Problem


class SentRequest(NamedTuple):
    """A request as on the wire. `preflight`: the lines of the one that a browser sends before it, if it does."""

    method: str
    lines: tuple[Line, ...]
    read_from: str | None = None
    preflight: tuple[Line, ...] | None = None
    has_credentials: bool = False


def sent_request(decision_request: DecisionRequest) -> SentRequest:
    """The request that is asked about. Raises Problem 422 for a paste that is not one."""
    if decision_request.request is None:
        headers = [(name, value) for name, values in decision_request.headers.items() for value in values]
        return SentRequest(decision_request.method, _lines(headers))
    try:
        request, read_from = read(decision_request.request, decision_request.entry)
    except Unreadable as error:
        details = error.lines or [error.message]
        errors = [ErrorItem(code="request_malformed", pointer="/request", detail=detail) for detail in details]
        detail = f"{error.message} {WHAT_TO_PASTE}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-request", detail, errors) from error
    return SentRequest(request.method, _lines(request.headers), read_from, _preflight(request), request.has_credentials)


def _preflight(request: PastedRequest) -> tuple[Line, ...] | None:
    origin = request.value("origin")
    is_cors = request.value("sec-fetch-mode") in (None, "cors") and request.value("sec-fetch-site") != "same-origin"
    if origin is None or not is_cors or request.method == "OPTIONS":
        return None
    names = unsafe_names(set_by_page(request.headers))
    if not needs_preflight(request.method, names):
        return None
    return _lines(preflight_headers(origin, request.method, names).items())


def _lines(headers: Iterable[tuple[str, str]]) -> tuple[Line, ...]:
    return tuple((bytes_of(name).lower(), bytes_of(value)) for name, value in headers)
