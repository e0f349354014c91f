"""POST /v1/decisions: every vector, and invalid bodies."""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import vectors
from tests.service.helpers import at, delete_policy, errors, problem, raw, write_policies
from tests.support import Api
from tests.vectors import Vector

CASES = vectors.load(*vectors.DECISIONS)


@pytest.fixture(scope="module")
def tenant_of(api: Api) -> Callable[[Vector], str]:
    """A tenant with the policies that a case gives its own tenant, written by REST; one for all cases that give it
    the same ones, since questions change nothing.
    """

    @functools.cache
    def with_policies(name: str, policies: str) -> str:
        tenant = api.new_tenant(name)
        write_policies(api, tenant, json.loads(policies))
        return tenant

    def tenant_of(case: Vector) -> str:
        name: str = case["tenant"]
        if name == "platform":
            return name
        if name not in case["policies"]:
            return f"{name}-{secrets.token_hex(4)}"
        return with_policies(name, json.dumps(case["policies"][name]))

    return tenant_of


@pytest.fixture
def platform(api: Api, case: Vector) -> Iterator[None]:
    """The case's platform policies, while it is asked."""
    policies = case["policies"].get("platform")
    if policies is not None:
        write_policies(api, "platform", policies)
    yield
    if policies is not None:
        for service in policies:
            delete_policy(api, "platform", service)
        assert api.put_policy("platform", {}).status_code == 201


@pytest.mark.parametrize("case", CASES, ids=vectors.name_of)
@pytest.mark.usefixtures("platform")
def test_decision(api: Api, case: Vector, tenant_of: Callable[[Vector], str]) -> None:
    headers: dict[str, list[str]] = {}
    for name, value in case["request"]["headers"]:
        headers.setdefault(name, []).append(value)
    question = {"tenant": tenant_of(case), "service": case["service"], "method": case["request"]["method"]}
    answer = api.http.post("/v1/decisions", json={**question, "headers": headers})
    assert answer.status_code == 200, answer.text
    body, expected = answer.json(), case["expect"]
    assert dict(body["headers"]) == expected["headers"]
    assert len(body["headers"]) == len(expected["headers"])
    assert body["status"] == expected["status"]
    assert body["allowed"] == expected["allowed"]
    assert body["reason"] == expected["reason"]
    assert body["message"]


def test_the_answer_names_the_policy_the_pattern_and_the_revision(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": ["https://*.example.com"]})
    written = api.put_policy(tenant, {"allow_origins": ["https://*.example.org:*"], "max_age": 5}, "billing").json()
    question = {"tenant": tenant, "service": "billing", "headers": {"origin": "https://a.b.example.org:81"}}
    body = api.http.post("/v1/decisions", json=question).json()
    assert body["policy"] == {"tenant": tenant, "service": "billing"}
    assert body["pattern"] == "https://*.example.org:*"
    assert body["revision"] == written["revision"]
    body = api.http.post("/v1/decisions", json={**question, "service": "reports"}).json()
    assert (body["policy"], body["pattern"], body["reason"]) == (None, None, "origin_not_allowed")


def test_a_denied_preflight_names_the_policy_that_allows_the_origin(api: Api) -> None:
    tenant = api.new_tenant()
    api.allow(tenant, "https://a.example.com")
    headers = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "PUT"}
    body = api.http.post("/v1/decisions", json={"tenant": tenant, "method": "OPTIONS", "headers": headers}).json()
    assert (body["allowed"], body["status"], body["reason"]) == (False, 403, "method_not_allowed")
    assert (body["policy"], body["pattern"]) == ({"tenant": tenant, "service": "default"}, "https://a.example.com")


def test_service_method_and_headers_have_defaults(api: Api) -> None:
    body = api.http.post("/v1/decisions", json={"tenant": api.new_tenant()}).json()
    assert (body["reason"], body["headers"], body["status"]) == ("no_origin", [["vary", "Origin"]], None)


@pytest.mark.parametrize("tenant", ["nobody-here", "", "ACME", "a\0", "\N{CRAB}", "x" * 200])
def test_an_unknown_tenant_is_allowed_nothing_and_has_no_revision(api: Api, tenant: str) -> None:
    question = {"tenant": tenant, "headers": {"Origin": "https://a.example.com"}}
    body = api.http.post("/v1/decisions", json=question).json()
    assert (body["allowed"], body["reason"], body["revision"]) == (False, "tenant_unknown", None)
    assert body["headers"] == [["vary", "Origin"]]


def test_the_origin_is_answered_byte_for_byte_even_if_it_is_not_ascii(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": ["https://app.example.com"]})
    for origin in ("https://bücher.example", "https://\N{CRAB}.example", "\0", " ", ""):
        body = api.http.post("/v1/decisions", json={"tenant": tenant, "headers": {"Origin": origin}}).json()
        assert (body["allowed"], body["reason"]) == (False, "origin_malformed"), origin


@pytest.mark.parametrize(
    ("question", "pointers"),
    [
        (None, [""]),
        ([], [""]),
        ("acme", [""]),
        ({}, ["/tenant"]),
        ({"tenant": None}, ["/tenant"]),
        ({"tenant": 5}, ["/tenant"]),
        ({"tenant": "x" * 201}, ["/tenant"]),
        ({"tenant": "acme", "service": []}, ["/service"]),
        ({"tenant": "acme", "method": True}, ["/method"]),
        ({"tenant": "acme", "method": "x" * 201}, ["/method"]),
        ({"tenant": "acme", "origin": "https://a.example.com"}, ["/origin"]),
        ({"tenant": "acme", "headers": []}, ["/headers"]),
        ({"tenant": "acme", "headers": "Origin: x"}, ["/headers"]),
        ({"tenant": "acme", "headers": {str(index): "" for index in range(101)}}, ["/headers"]),
        ({"tenant": 1, "service": 2, "method": 3, "headers": 4}, ["/headers", "/method", "/service", "/tenant"]),
        ({"tenant": "acme", "a/b~": 1}, ["/a~1b~0"]),
    ],
)
def test_an_invalid_decision_request_is_rejected_with_all_that_is_wrong(
    api: Api, question: Any, pointers: list[str]
) -> None:
    answer = api.http.post("/v1/decisions", content=raw(question))
    problem(answer, 422, "invalid-request")
    assert sorted(pointer for _, pointer in errors(answer)) == pointers


@pytest.mark.parametrize("value", [None, 5, True, {}, [5], [None], [["x"]], ["https://a.example.com", 5]])
@pytest.mark.parametrize("name", ["Origin", "a/b~c"])
def test_what_is_wrong_with_a_header_is_pointed_to(api: Api, name: str, value: Any) -> None:
    question = {"tenant": "acme", "headers": {name: value}}
    found = errors(api.http.post("/v1/decisions", json=question))
    assert found
    for _, pointer in found:
        assert at(question, pointer) is not question  # Raises LookupError where the pointer leads nowhere.


@pytest.mark.parametrize("field", ["tenant", "service", "method"])
def test_a_lone_surrogate_is_no_error_of_the_service(api: Api, field: str) -> None:
    tenant = api.new_tenant()
    for value in ("\ud800", "OPTIONS\udfff"):
        for question in ({field: value}, {"headers": {value: "x"}}, {"headers": {"Origin": [value]}}):
            answer = api.http.post("/v1/decisions", content=raw({"tenant": tenant, **question}))
            assert answer.status_code in (200, 422), answer.text
