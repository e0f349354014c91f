"""/v1/tenants/{tenant}/policies: writing whole policies, preconditions, what is kept, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.helpers import CONFIRM, FULL, etag, path_of, problem, together
from tests.support import Api


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def test_a_policy_of_a_service_is_created_shown_listed_and_deleted(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/billing"
    problem(api.http.get(path), 404, "unknown-policy")
    created = api.http.put(path, json=FULL)
    assert created.status_code == 201
    read = api.http.get(path)
    assert read.json() == created.json()
    assert etag(read) == etag(created) == f'"{read.json()["revision"]}"'
    body = read.json()
    assert (body["tenant"], body["service"], body["warnings"]) == (tenant, "billing", [])
    assert {name: body[name] for name in FULL if name != "allow_origins"} == {
        name: value for name, value in FULL.items() if name != "allow_origins"
    }
    assert [entry["pattern"] for entry in body["allow_origins"]] == ["https://a.example.com", "https://*.b.example.com"]
    listed = api.http.get(f"/v1/tenants/{tenant}/policies").json()["items"]
    assert [policy["service"] for policy in listed] == ["billing", "default"]
    assert listed[0] == body
    assert api.http.get(f"/v1/tenants/{tenant}").json()["services"] == ["billing", "default"]
    deleted = api.http.delete(path, headers={"If-Match": etag(read)}, params=CONFIRM)
    assert (deleted.status_code, deleted.content) == (204, b"")
    problem(api.http.get(path), 404, "unknown-policy")
    assert etag(api.http.get(f"/v1/tenants/{tenant}")) == deleted.headers["etag"]


def test_a_policy_that_is_there_is_replaced_whole(api: Api) -> None:
    path = path_of(api)
    assert api.http.put(path, json=FULL, headers={"If-Match": "*"}).status_code == 200
    replaced = api.http.put(path, json={"max_age": 5}, headers={"If-Match": "*"}, params=CONFIRM)
    assert replaced.status_code == 200
    body = replaced.json()
    assert (body["allow_origins"], body["allow_methods"], body["allow_credentials"]) == ([], [], False)
    assert body["max_age"] == 5


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_policy_that_is_there_changes_only_with_the_current_etag(api: Api, method: str) -> None:
    path = path_of(api)
    first = etag(api.http.get(path))
    written = api.http.put(path, json={"max_age": 1}, headers={"If-Match": first})
    current = etag(written)
    assert current != first
    body = {"max_age": 2} if method == "PUT" else None
    problem(api.http.request(method, path, json=body), 428, "precondition-required")
    for value in (first, '"0"', "", "x", current.strip('"'), f"W/{current}", f'{first}, "0"'):
        stale = api.http.request(method, path, json=body, headers={"If-Match": value})
        problem(stale, 412, "stale")
        assert stale.headers["etag"] == current
    assert api.http.get(path).json() == written.json()
    done = api.http.request(method, path, json=body, headers={"If-Match": f'"0", {current}'})
    assert done.status_code == (200 if method == "PUT" else 204)


def test_the_etag_is_of_the_whole_document_so_that_any_change_of_the_tenant_makes_it_stale(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default"
    tag = etag(api.http.get(path))
    assert api.put_policy(tenant, {}, "billing").status_code == 201
    problem(api.http.put(path, json={"max_age": 1}, headers={"If-Match": tag}), 412, "stale")


def test_a_new_policy_needs_no_etag_but_a_stale_one_is_refused(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/billing"
    problem(api.http.put(path, json={}, headers={"If-Match": '"0"'}), 412, "stale")
    problem(api.http.get(path), 404, "unknown-policy")
    tag = etag(api.http.get(f"/v1/tenants/{tenant}"))
    assert api.http.put(path, json={}, headers={"If-Match": tag}).status_code == 201


def test_one_of_many_simultaneous_writes_with_the_same_etag_wins(api: Api) -> None:
    path = path_of(api)
    headers = {"If-Match": etag(api.http.get(path))}
    answers = together(20, lambda index: api.http.put(path, json={"max_age": index + 1}, headers=headers))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    winner = next(answer for answer in answers if answer.is_success)
    assert api.http.get(path).json() == winner.json()
    assert {answer.headers["etag"] for answer in answers} == {etag(winner)}


def test_one_of_many_simultaneous_creations_of_a_policy_wins(api: Api) -> None:
    path = path_of(api, "billing")
    answers = together(10, lambda index: api.http.put(path, json={"max_age": index + 1}))
    assert sorted(answer.status_code for answer in answers) == [201] + [428] * 9


@pytest.mark.parametrize("name", ["a", "0", "default", "billing-v2", "a.b_c-d", "a" * 63, "xn--x"])
def test_what_a_service_may_be_called(api: Api, name: str) -> None:
    tenant = api.new_tenant()
    assert api.put_policy(tenant, {}, name).is_success
    assert api.http.get(f"/v1/tenants/{tenant}/policies/{name}").json()["service"] == name


@pytest.mark.parametrize(
    "name",
    ["a" * 64, "Billing", "-a", "a-", ".a", "a_", "a%20b", "%00", "a%0A", "b%C3%BCcher", "%EF%BD%81", "*", "%FF"],
)
def test_what_a_service_may_not_be_called(api: Api, name: str) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/{name}"
    problem(api.http.put(path, json={}), 422, "invalid-service")
    problem(api.http.get(path), 404, "unknown-policy")
    problem(api.http.delete(path, headers={"If-Match": "*"}), 404, "unknown-policy")
    assert api.http.get(f"/v1/tenants/{tenant}").json()["services"] == ["default"]


@pytest.mark.parametrize("call", ["GET", "PUT", "DELETE"])
def test_policies_of_an_unknown_tenant_are_not_found(api: Api, call: str) -> None:
    body: dict[str, Any] | None = {} if call == "PUT" else None
    answer = api.http.request(call, "/v1/tenants/nobody-here/policies/default", json=body, headers={"If-Match": "*"})
    problem(answer, 404, "unknown-tenant")
    problem(api.http.get("/v1/tenants/nobody-here/policies"), 404, "unknown-tenant")
