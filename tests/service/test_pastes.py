"""POST /v1/decisions with a pasted request: every form, what is not a request, and bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.decisions.pastes.model import Unreadable, is_name
from policy_service.decisions.pastes.read import MAX_CHARACTERS, read
from policy_service.decisions.schemas import MAX_PASTED_CHARACTERS
from tests import vectors
from tests.service.helpers import errors, problem
from tests.support import Api
from tests.vectors import Vector

ORIGIN = "https://shop.example.com"
CASES = vectors.load("pastes")
READABLE = [case for case in CASES if "expect" in case]
UNREADABLE = [case for case in CASES if "says" in case]


def _text(case: Vector) -> str:
    text: str = case.get("line_end", "\n").join(case["text"])
    return text


def _ask(api: Api, tenant: str, **asked: Any) -> dict[str, Any]:
    answer = api.http.post("/v1/decisions", json={"tenant": tenant, **asked})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture(scope="module")
def closed(api: Api) -> str:
    """A tenant that allows nothing, so that a preflight is decided on wherever a browser sends one."""
    return api.new_tenant()


@pytest.fixture(scope="module")
def open_to_puts(api: Api) -> str:
    """A tenant that allows some of what the cases ask for."""
    tenant = api.new_tenant()
    policy = {"allow_origins": [ORIGIN], "allow_methods": ["PUT"], "allow_headers": ["content-type"]}
    assert api.put_policy(tenant, policy).is_success
    return tenant


@pytest.mark.parametrize("case", READABLE, ids=vectors.name_of)
def test_a_pasted_request_is_read(api: Api, closed: str, case: Vector) -> None:
    body = _ask(api, closed, request=_text(case), entry=case.get("entry"))
    assert body["decided_on"] == case["expect"]


@pytest.mark.parametrize("case", READABLE, ids=vectors.name_of)
def test_a_pasted_request_is_decided_as_the_same_one_in_parts(api: Api, open_to_puts: str, case: Vector) -> None:
    expected = case["expect"]
    names = {
        "Origin": expected["origin"],
        "Access-Control-Request-Method": expected["requested_method"],
        "Access-Control-Request-Headers": expected["requested_headers"],
    }
    headers = {name: value for name, value in names.items() if value is not None}
    body = _ask(api, open_to_puts, request=_text(case), entry=case.get("entry"))
    same = _ask(api, open_to_puts, method=expected["method"], headers=headers)
    for name in ("allowed", "reason", "policy", "pattern", "near_misses"):
        assert body[name] == same[name]
    if expected["origin"] is not None:
        assert body["reason"] != "no_origin"


@pytest.mark.parametrize("case", UNREADABLE, ids=vectors.name_of)
def test_what_is_not_a_request_is_told_what_to_paste(api: Api, case: Vector) -> None:
    answer = api.http.post(
        "/v1/decisions", json={"tenant": "platform", "request": _text(case), "entry": case.get("entry")}
    )
    detail = problem(answer, 422, "malformed-request")["detail"]
    assert case["says"] in detail
    assert "Paste a request from the browser's network panel" in detail
    assert set(errors(answer)) == {("request_malformed", "/request")}


def test_a_denied_preflight_ahead_of_a_pasted_request_is_the_answer(api: Api, open_to_puts: str) -> None:
    text = f"curl https://api.example.net/carts -X DELETE -H 'origin: {ORIGIN}'"
    body = _ask(api, open_to_puts, request=text)
    assert (body["allowed"], body["status"], body["reason"]) == (False, 403, "method_not_allowed")
    assert body["message"].startswith(
        "Before this DELETE, browsers send a preflight, which is denied. The policy default"
    )
    # An allowed one is not: what comes back is the app's response.
    body = _ask(api, open_to_puts, request=text.replace("DELETE", "PUT"))
    assert (body["allowed"], body["status"]) == (True, None)
    assert ["access-control-allow-origin", ORIGIN] in body["headers"]


def test_a_fetch_call_with_credentials_needs_a_policy_with_credentials(api: Api, open_to_puts: str) -> None:
    call = 'fetch("https://api.example.net/", {"referrer": "%s/", "credentials": "%s"})'
    body = _ask(api, open_to_puts, request=call % (ORIGIN, "include"))
    assert body["allowed"]
    assert "set allow_credentials" in body["message"]
    assert "credentials" not in _ask(api, open_to_puts, request=call % (ORIGIN, "same-origin"))["message"]


def test_a_request_without_an_origin_is_told_to_add_one(api: Api, closed: str) -> None:
    body = _ask(api, closed, request="curl https://api.example.net/carts")
    assert body["reason"] == "no_origin"
    assert "add it to what you pasted" in body["message"]


def test_every_line_that_is_not_a_header_is_named_up_to_a_hundred(api: Api) -> None:
    text = "GET / HTTP/1.1\r\nOrigin: x\r\nwhat\r\nAccept: */*\r\nelse"
    found = problem(api.http.post("/v1/decisions", json={"tenant": "platform", "request": text}), 422)["errors"]
    assert [item["detail"].split(" is ")[0] for item in found] == ["Line 3", "Line 5"]
    many = {"tenant": "platform", "request": "GET / HTTP/1.1\n" + "x y\n" * 8_000}
    assert len(problem(api.http.post("/v1/decisions", json=many), 422)["errors"]) == 100


def test_a_har_may_be_longer_than_other_pastes(api: Api, closed: str) -> None:
    entry = {
        "request": {"method": "GET", "headers": [{"name": "origin", "value": ORIGIN}]},
        "response": {"text": "x" * 500},
    }
    har = json.dumps({"log": {"entries": [{"request": {"method": "GET", "headers": []}}] + [entry] * 500}})
    assert len(har) > 3 * MAX_CHARACTERS
    assert (
        _ask(api, closed, request=har)["decided_on"]["read_from"] == "HAR, request 2 of 501, the first with an Origin"
    )
    long = {"tenant": closed, "request": f"GET / HTTP/1.1\nOrigin: {ORIGIN}\nCookie: {'x' * MAX_CHARACTERS}"}
    answer = api.http.post("/v1/decisions", json=long)
    assert f"longer than {MAX_CHARACTERS} characters" in problem(answer, 422, "malformed-request")["detail"]
    many = {"tenant": closed, "request": "GET / HTTP/1.1\n" + "a: b\n" * 1_001}
    answer = api.http.post("/v1/decisions", json=many)
    assert "more than 1000 headers" in problem(answer, 422, "malformed-request")["detail"]


def _is_read_or_rejected(text: str, entry: int | None = None) -> None:
    try:
        request, read_from = read(text, entry)
    except Unreadable:
        return
    assert is_name(request.method)
    assert all(is_name(name) for name, _ in request.headers)
    assert read_from


_MARKS = ["```", "'", '"', "\\", "^", "$'", "curl ", "fetch(", "{", "[", "> ", "< ", ":", "\t", "\r", "\ud800"]
_FRAGMENTS = [*_MARKS, *sorted({line for case in CASES for line in case["text"] if len(line) < 200})]
_SHUFFLED = st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=5), max_size=30)


@given(st.text() | st.builds(str.join, st.sampled_from(["\n", "\n\n", "\r\n", " ", ""]), _SHUFFLED), st.integers(1, 3))
def test_any_text_gives_a_request_or_one_error(text: str, entry: int) -> None:
    _is_read_or_rejected(text)
    _is_read_or_rejected(text, entry)


@pytest.mark.parametrize(
    "longest",
    [
        lambda size: "x\n" * (size // 2),
        lambda size: "x:\n" * (size // 3),
        lambda size: "a: b\n" * (size // 5),
        lambda size: "> a: b\n" * (size // 7),
        lambda size: "\n" * size,
        lambda size: "a" + " " * (size - 2) + "b",
        lambda size: "a b" + " " * (size - 4) + "c",
        lambda size: "(" * size,
        lambda size: "```\n" * (size // 4),
        lambda size: "curl " + "'" * (size - 6),
        lambda size: "curl " + "\\" * (size - 5),
        lambda size: 'curl ^"' + '"' * (size - 7),
        lambda size: "curl " + "a " * ((size - 5) // 2),
        lambda size: "$ " * (size // 2),
        lambda size: 'fetch("");' * (size // 10),
        lambda size: 'fetch(""' + " " * (size - 8),
        lambda size: "fetch('" + "\\'" * ((size - 7) // 2),
        lambda size: "fetch({" * (size // 7),
        lambda size: "fetch(" + "a," * ((size - 6) // 2),
        lambda size: "Request Headers\na\nb\n" * (size // 20),
        lambda size: "GET / HTTP/1.1\na: b\n" * (size // 20),
        lambda size: "\x1b[" + "0" * (size - 2),
    ],
)
def test_the_longest_paste_is_read_in_bounded_time(longest: Callable[[int], str]) -> None:
    text = longest(MAX_CHARACTERS)
    assert MAX_CHARACTERS - 20 <= len(text) <= MAX_CHARACTERS
    start = time.process_time()
    _is_read_or_rejected(text)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("nested", ["[", '{"a":', '{"log":{"entries":[', '[{"headers":[]},'])
def test_the_longest_json_is_read_in_bounded_time(nested: str) -> None:
    text = nested * (MAX_PASTED_CHARACTERS // len(nested))
    start = time.process_time()
    _is_read_or_rejected(text)
    assert time.process_time() - start < 3
