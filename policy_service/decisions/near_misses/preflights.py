"""What a preflight asks for that the policy which allows its origin does not allow: the method and the headers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from corspolicy.core.decision import Decision, Reason
from corspolicy.core.http_names import method_note, normalized_method
from policy_service.decisions.inputs import DecisionInput, text_of
from policy_service.decisions.near_misses.wording import near_miss
from policy_service.decisions.page_requests import is_never_allowed, is_response_only
from policy_service.decisions.schemas import NearMiss

MAX_NAMES = 50

_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


def find(request: DecisionInput, decision: Decision) -> Iterator[NearMiss]:
    """The method and the headers, each decided on alone."""
    if request.replace(_HEADERS).decide().reason is Reason.METHOD_NOT_ALLOWED:
        yield _of_method(request, decision)
    yield from _of_headers(request, decision)


def _of_method(request: DecisionInput, decision: Decision) -> NearMiss:
    policy = _policy(decision)
    alone = request.replace(_HEADERS)
    method = text_of(request.value(_METHOD))
    sent = normalized_method(method)
    cased = dict.fromkeys((sent, method.upper(), method.lower()))
    allowed = next((form for form in cased if alone.replace(_METHOD, form.encode()).decide().allowed), None)
    note = method_note(method)
    if note is not None and note.code == "method_forbidden":
        message = f"Browsers never let a page send {method}: remove it from the page's request and use another method."
        return near_miss(["method_forbidden"], message, decision)
    if allowed is None:
        by_browser = "" if sent == method else f" (browsers send {method} as {sent})"
        message = f"{policy} does not list {sent}{by_browser}: add it to allow_methods."
        return near_miss(["method"], message, decision)
    if allowed == sent:
        message = (
            f"{policy} allows {allowed}, but the request asked for {method}: methods are case-sensitive. Browsers send "
            f"{method} as {allowed}; outside a browser, write {allowed}."
        )
    else:
        message = (
            f"{policy} lists {allowed}, but the page asked for {method}: methods are case-sensitive. Write {allowed} "
            f"in the page's code, or list {method} as well."
        )
    return near_miss(["method_case"], message, decision)


def _of_headers(request: DecisionInput, decision: Decision) -> Iterator[NearMiss]:
    simple = request.replace(_METHOD, b"GET")
    asked = dict.fromkeys(name.strip().lower() for name in request.value(_HEADERS).split(b","))
    denied = [
        text_of(name)
        for name in islice(asked, MAX_NAMES)
        if simple.replace(_HEADERS, name).decide().reason is Reason.HEADERS_NOT_ALLOWED
    ]
    for_responses = [name for name in denied if is_response_only(name)]
    forbidden = [name for name in denied if is_never_allowed(name)]
    missing = [name for name in denied if name not in for_responses and name not in forbidden]
    if for_responses:
        what = "are response headers, which only" if len(for_responses) > 1 else "is a response header, which only"
        message = f"{', '.join(for_responses)} {what} the service sends: {_remove(for_responses)}."
        yield near_miss(["headers_response_only"], message, decision)
    if forbidden:
        message = f"Browsers never let a page set {', '.join(forbidden)}: {_remove(forbidden)}."
        yield near_miss(["headers_forbidden"], message, decision)
    if missing:
        by_name = " (by name: without credentials, `*` does not cover it)" if missing == ["authorization"] else ""
        noun, pronoun = ("headers", "them") if len(missing) > 1 else ("header", "it")
        names = ", ".join(missing)
        message = f"{_policy(decision)} does not list the {noun} {names}: add {pronoun} to allow_headers{by_name}."
        yield near_miss(["headers"], message, decision)


def _remove(names: list[str]) -> str:
    return f"remove {'them' if len(names) > 1 else 'it'} from the page's request"


def _policy(decision: Decision) -> str:
    assert decision.policy is not None
    return f"The policy {decision.policy.service} of tenant {decision.policy.tenant}"
