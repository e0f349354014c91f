"""POST /v1/decisions: near misses, earlier revisions, drafts, other times."""

from __future__ import annotations

from typing import Any

import pytest

from tests import vectors
from tests.service.helpers import CONFIRM, errors, problem, raw, tenant_api, write_policies
from tests.support import Api, Process
from tests.vectors import Vector

ORIGIN = "https://app.example.com"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


def _ask(api: Api, **question: Any) -> dict[str, Any]:
    answer = api.http.post("/v1/decisions", json=question)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("case", vectors.load("near_misses"), ids=vectors.name_of)
def test_near_misses(api: Api, case: Vector) -> None:
    tenant = api.new_tenant()
    write_policies(api, tenant, case["policies"]["acme"])
    platform = case["policies"].get("platform", {})
    write_policies(api, "platform", {"default": {}, **platform})
    headers: dict[str, list[str]] = {}
    for name, value in case["request"]["headers"]:
        headers.setdefault(name, []).append(value)
    question = {"tenant": tenant, "service": "billing", "method": case["request"]["method"], "headers": headers}
    body = _ask(api, **question, at=case.get("at"))
    found = [{name: miss[name] for name in ("differences", "origin", "pattern")} for miss in body["near_misses"]]
    assert found == [{name: miss[name] for name in ("differences", "origin", "pattern")} for miss in case["expect"]]
    for miss, expected in zip(body["near_misses"], case["expect"], strict=True):
        if "service" in expected:
            assert miss["policy"]["service"] == expected["service"]
    assert case["says"] in body["message"]
    if body["near_misses"]:
        assert body["message"] == body["near_misses"][0]["message"]


def test_whatever_is_called_allowed_is(api: Api) -> None:
    tenant = api.new_tenant()
    origins = [f"https://{name}.example.{end}:*" for name in ("a", "b", "c") for end in ("com", "org", "net")]
    api.put_policy(tenant, {"allow_origins": [*origins, "http://localhost:3000", "https://*.example.com"]})
    near = 0
    for sent in ("http://a.example.com:9", "https://example.com", "http://127.0.0.1:3000", "https://x.a.example.org"):
        misses = _ask(api, tenant=tenant, headers={"Origin": sent})["near_misses"]
        near += len(misses)
        assert len(misses) <= 5
        for miss in misses:
            body = _ask(api, tenant=tenant, headers={"Origin": miss["origin"]})
            assert (body["allowed"], body["pattern"]) == (True, miss["pattern"])
    assert near >= 4


def test_a_denial_without_anything_near_says_what_to_add_and_where(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {}, "billing")
    body = _ask(api, tenant=tenant, service="billing", headers={"Origin": ORIGIN})
    assert body["message"] == (
        f"Neither tenant {tenant} nor the platform allows {ORIGIN} for service billing: if intended, add it to the "
        "tenant's policy billing."
    )


@pytest.mark.parametrize(
    "question",
    [
        {"request": "Origin: x", "method": "GET"},
        {"request": "Origin: x", "headers": {}},
        {"request": "x" * 1_000_001},
        {"request": 5},
        {"request": "\ud800: x"},
        {"request": "Origin: x", "entry": 0},
        {"request": "Origin: x", "entry": "1"},
        {"entry": 1},
        {"revision": 0},
        {"revision": 2**63},
        {"revision": "1"},
        {"revision": True},
        {"at": "2030-01-01T00:00:00"},
        {"at": "0001-01-01T00:00:00+23:59"},
        {"at": "9999-12-31T23:59:59-23:59"},
        {"at": 1e308},
        {"at": "yesterday"},
    ],
)
def test_an_invalid_decision_request_is_rejected(api: Api, question: dict[str, Any]) -> None:
    content = raw({"tenant": "platform", **question})
    problem(api.http.post("/v1/decisions", content=content), 422, "invalid-request")


def test_an_earlier_revision_decides_with_what_the_tenant_and_the_platform_had_then(api: Api) -> None:
    tenant = api.new_tenant()
    entry = api.allow(tenant, ORIGIN)
    console = api.allow("platform", "https://console.example.com")
    api.remove(tenant, entry["id"])
    question = {"tenant": tenant, "headers": {"Origin": ORIGIN}}
    now = _ask(api, **question)
    assert (now["allowed"], now["near_misses"]) == (False, [])
    then = _ask(api, **question, revision=entry["revision"])
    assert (then["allowed"], then["pattern"], then["revision"]) == (True, ORIGIN, entry["revision"])
    question = {"tenant": tenant, "headers": {"Origin": "https://console.example.com"}}
    assert not _ask(api, **question, revision=entry["revision"])["allowed"]
    assert _ask(api, **question, revision=now["revision"])["allowed"]
    api.remove("platform", console["id"])
    assert _ask(api, **question, revision=now["revision"])["allowed"]


def test_the_revision_of_a_deletion_grants_nothing_and_earlier_ones_still_answer(api: Api) -> None:
    tenant = api.new_tenant()
    entry = api.allow(tenant, ORIGIN)
    deleted = api.http.delete(f"/v1/tenants/{tenant}", headers={"If-Match": "*"}, params=CONFIRM).headers["etag"]
    question = {"tenant": tenant, "headers": {"Origin": ORIGIN}}
    assert _ask(api, **question, revision=int(deleted.strip('"')))["reason"] == "tenant_unknown"
    assert _ask(api, **question, revision=entry["revision"])["allowed"]


def test_a_revision_of_another_tenant_or_of_none_is_not_found(api: Api) -> None:
    tenant, other = api.new_tenant(), api.new_tenant()
    revision = api.allow(other, ORIGIN)["revision"]
    for slug, number in ((tenant, revision), (tenant, 2**63 - 1), ("nobody-here", revision), ("A\0", revision)):
        answer = api.http.post("/v1/decisions", json={"tenant": slug, "revision": number})
        problem(answer, 404, "unknown-revision")


def test_a_draft_decides_in_place_of_the_services_policy_and_is_not_saved(api: Api) -> None:
    tenant = api.new_tenant()
    api.allow(tenant, "https://old.example.com")
    path = f"/v1/tenants/{tenant}/policies"
    before = api.http.get(path).json()
    question: dict[str, Any] = {"tenant": tenant, "service": "billing", "method": "OPTIONS", "headers": PREFLIGHT}
    assert not _ask(api, **question)["allowed"]
    body = _ask(api, **question, draft={"allow_origins": [ORIGIN], "allow_methods": ["PUT"], "max_age": 60})
    assert (body["allowed"], body["policy"]["service"]) == (True, "billing")
    assert ["access-control-max-age", "60"] in body["headers"]
    body = _ask(api, **question, draft={"allow_origins": [ORIGIN]})
    assert [miss["differences"] for miss in body["near_misses"]] == [["method"]]
    # What was read can be passed as a draft.
    shown = api.http.get(f"{path}/default").json()
    old = {"tenant": tenant, "headers": {"Origin": "https://old.example.com"}}
    assert _ask(api, **old, draft=shown)["allowed"]
    assert not _ask(api, **old, draft={})["allowed"]
    assert api.http.get(path).json() == before


def test_a_draft_is_rejected_with_every_problem_as_when_it_is_put(api: Api) -> None:
    tenant = api.new_tenant()
    draft = {"allow_origins": ["https://a.example.com/", "*"], "allow_credentials": True, "max_age": -1, "x": 1}
    answer = api.http.post("/v1/decisions", json={"tenant": tenant, "draft": draft})
    put = api.put_policy(tenant, draft)
    assert errors(answer) == [(code, f"/draft{pointer}") for code, pointer in errors(put)]
    assert len(errors(answer)) == 4
    for draft in ([], "x", 5, True):  # type: ignore[assignment]
        assert errors(api.http.post("/v1/decisions", json={"tenant": tenant, "draft": draft})) == [
            ("not_an_object", "/draft")
        ]
    answer = api.http.post("/v1/decisions", json={"tenant": tenant, "service": "No Name", "draft": {}})
    problem(answer, 422, "invalid-service")


def test_another_moment_decides_on_entries_that_expire(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": [{"pattern": ORIGIN, "expires_at": "2040-01-01T00:00:00Z"}]})
    question = {"tenant": tenant, "headers": {"Origin": ORIGIN}}
    assert _ask(api, **question)["allowed"]
    assert _ask(api, **question, at="2039-12-31T23:59:59.999Z")["allowed"]
    body = _ask(api, **question, at="2040-01-01T00:00:00Z")
    assert not body["allowed"]
    assert "until today, 2040-01-01T00:00:00Z" in body["message"]


def test_a_long_list_is_answered_all_the_same(api: Api) -> None:
    origins = [f"https://tenant-{number}.example.com:{3000 + number % 90}" for number in range(1_000)]
    question = {"tenant": api.new_tenant(), "headers": {"Origin": "http://tenant-7.example.com:3007"}}
    body = _ask(api, **question, draft={"allow_origins": origins})
    assert [miss["origin"] for miss in body["near_misses"]] == ["https://tenant-7.example.com:3007"]


def test_an_origin_of_any_length_and_bytes_is_no_error_of_the_service(api: Api) -> None:
    tenant = api.new_tenant()
    api.allow(tenant, "https://*.example.com")
    for origin in (
        "x" * 100_000,
        "https://" + "a." * 120 + "example.org",
        "https://" + "é" * 300,
        "\ud800",
        "\0",
        "[",
        "",
    ):
        for name in ("Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"):
            question = {"tenant": tenant, "method": "OPTIONS", "headers": {**PREFLIGHT, name: origin}}
            answer = api.http.post("/v1/decisions", content=raw(question))
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["message"]) < 10_000


def test_a_key_to_one_tenant_learns_nothing_of_the_platforms_patterns_nor_of_other_tenants(
    api: Api, service: Process
) -> None:
    mine, other = api.new_tenant(), api.new_tenant()
    write_policies(api, "platform", {"default": {"allow_origins": ["https://*.console.example.net"]}})
    revision = api.allow(other, ORIGIN)["revision"]
    with tenant_api(api, service, mine) as own:
        allowed = {"tenant": mine, "headers": {"Origin": "https://a.console.example.net"}}
        assert _ask(api, **allowed)["pattern"] == "https://*.console.example.net"
        seen = _ask(own, **allowed)
        # As any browser can find out.
        assert (seen["allowed"], seen["pattern"]) == (True, None)
        assert seen["message"] == "The request is allowed by the platform."
        near = {"tenant": mine, "headers": {"Origin": "http://a.console.example.net"}}
        assert [miss["differences"] for miss in _ask(api, **near)["near_misses"]] == [["scheme"]]
        assert _ask(own, **near)["near_misses"] == []
        preflight = {"Origin": "https://a.console.example.net", "Access-Control-Request-Method": "PUT"}
        assert _ask(own, tenant=mine, method="OPTIONS", headers=preflight)["near_misses"] == []
        theirs: dict[str, Any] = {"tenant": other, "headers": {"Origin": ORIGIN}}
        unknown = {**theirs, "tenant": "nobody-here"}
        assert _ask(own, **theirs) == {
            **_ask(own, **unknown),
            "message": _ask(own, **unknown)["message"].replace("nobody-here", other),
        }
        for question in (theirs, {**theirs, "tenant": mine}):
            answer = own.http.post("/v1/decisions", json={**question, "revision": revision})
            problem(answer, 404, "unknown-revision")
    write_policies(api, "platform", {"default": {}})
