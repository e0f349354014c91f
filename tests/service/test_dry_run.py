"""`?dry_run=true`: the answer shows what a change would do, and nothing is written; of every route that changes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.helpers import CONFIRM, FULL, Operation, client_with, etag, new_key, problem, rows
from tests.support import Api, Process

A, B = "https://a.example.com", "https://b.example.com"
ANY = {"If-Match": "*"}
DRY = {"dry_run": "true"}
# What changes no tenant.
OTHERS = {"explain", "create_key", "rotate_key", "revoke_key"}


@pytest.fixture(scope="module")
def changing(operations: list[Operation]) -> list[Operation]:
    """Every operation that changes a tenant."""
    found = [
        operation
        for operation in operations
        if operation.method in ("POST", "PUT", "PATCH", "DELETE") and operation.id not in OTHERS
    ]
    assert len(found) >= 9
    return found


def _everything(service: Process) -> Any:
    url = service.environment["CORSPOLICY_DATABASE_URL"]
    # A row that was inserted and rolled back is none; a number that was drawn from a sequence stays drawn.
    queries = (
        "SELECT slug, revision, document, next_expiry FROM tenants ORDER BY 1",
        "SELECT revision, tenant FROM changes ORDER BY 1",
        "SELECT last_value FROM revisions",
    )
    return [rows(url, query) for query in queries]


def test_no_route_that_changes_a_tenant_changes_anything(service: Process, api: Api, changing: list[Operation]) -> None:
    for operation in changing:
        tenant = api.new_tenant()
        entry = api.allow(tenant, A)
        parts = {"{tenant}": tenant, "{service}": "default", "{entry}": entry["id"]}
        path = operation.path
        for name, value in parts.items():
            path = path.replace(name, value)
        body = operation.example
        if operation.id == "restore_tenant":
            body = {"revision": api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"][-1]["revision"]}
        elif operation.id == "create_tenant":
            body = {"tenant": "new", "name": "New"}
        before = _everything(service)
        for parameters in (DRY, {**DRY, **CONFIRM}):
            answer = api.http.request(operation.method, path, json=body, headers=ANY, params=parameters)
            assert answer.status_code == 200, (operation, answer.text)
            shown = answer.json()
            assert shown["dry_run"] is True
            assert shown["difference"], operation
            if operation.id == "create_tenant":
                assert (shown["revision"], shown["tenant"]) == (None, "new")
            else:
                assert (shown["revision"], etag(answer)) == (entry["revision"], f'"{entry["revision"]}"')
        assert shown["problems"] == []
        assert _everything(service) == before, operation
        done = api.http.request(operation.method, path, json=body, headers=ANY, params=CONFIRM)
        assert done.is_success, (operation, done.text)
        assert _everything(service) != before, operation
        change = api.http.get(f"/v1/tenants/{shown['tenant']}/changes").json()["items"][0]
        assert [item["words"] for item in change["difference"]] == [item["words"] for item in shown["difference"]]


def test_the_answer_shows_the_document_warnings_problems_and_the_difference(api: Api) -> None:
    tenant = api.new_tenant()
    api.allow(tenant, A)
    path = f"/v1/tenants/{tenant}/policies/default"
    body = {"allow_origins": [B], "max_age": 7200}
    shown = api.http.put(path, json=body, headers=ANY, params=DRY).json()
    policy = shown["document"]["policies"]["default"]
    assert ([entry["pattern"] for entry in policy["allow_origins"]], policy["max_age"]) == ([B], 7200)
    assert [item["code"] for item in shown["warnings"]] == ["max_age_long"]
    assert [(item["code"], item["pointer"]) for item in shown["problems"]] == [
        ("origins_removed", "/policies/default/allow_origins")
    ]
    assert [item["words"] for item in shown["difference"]] == [
        f"{A} no longer allowed", f"{B} allowed", "max_age not sent → 7200",
    ]  # fmt: skip


def test_the_deletion_of_a_tenant_shows_no_document(api: Api) -> None:
    tenant = api.new_tenant()
    shown = api.http.delete(f"/v1/tenants/{tenant}", headers=ANY, params=DRY)
    assert (shown.status_code, shown.json()["document"]) == (200, None)
    assert api.http.get(f"/v1/tenants/{tenant}").status_code == 200


def test_what_would_change_nothing_has_no_difference(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, FULL)
    shown = api.http.put(f"/v1/tenants/{tenant}/policies/default", json=FULL, headers=ANY, params=DRY).json()
    assert (shown["difference"], shown["problems"], shown["omitted"]) == ([], [], 0)


def test_a_dry_run_is_refused_as_the_change_would_be(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    policy = f"{path}/policies/default"
    stale = etag(api.http.get(path))
    api.allow(tenant, A)
    problem(api.http.put(policy, json={}, params=DRY), 428, "precondition-required")
    problem(api.http.put(policy, json={}, headers={"If-Match": stale}, params=DRY), 412, "stale")
    problem(api.http.put(policy, json={"max_age": -1}, headers=ANY, params=DRY), 422, "invalid-policy")
    problem(api.http.post("/v1/tenants", json={"tenant": tenant}, params=DRY), 409, "tenant-exists")
    problem(api.http.delete("/v1/tenants/platform", headers=ANY, params=DRY), 409, "reserved-tenant")
    problem(api.http.delete(f"{policy}/origins/x", params=DRY), 404, "unknown-entry")
    problem(api.http.delete("/v1/tenants/nobody-here", headers=ANY, params=DRY), 404, "unknown-tenant")
    key = new_key(api, role="tenant", tenants=[tenant])["key"]
    with client_with(api, key) as http:
        problem(http.put(policy, json={}, headers=ANY, params=DRY), 403, "forbidden")


def test_a_dry_run_with_an_idempotency_key_is_not_taken_for_the_change(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    headers = {"Idempotency-Key": tenant}
    assert api.http.post(path, json={"pattern": A}, headers=headers, params=DRY).json()["dry_run"] is True
    assert api.http.post(path, json={"pattern": A}, headers=headers).status_code == 201


@pytest.mark.parametrize("name", ["dry_run", "confirm"])
@pytest.mark.parametrize("value", ["", "maybe", "2", "null"])
def test_a_flag_that_is_none_is_refused_and_nothing_is_changed(api: Api, name: str, value: str) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    problem(api.http.post(path, json={"pattern": A}, params={name: value}), 422, "invalid-request")
    assert api.http.get(path).json()["items"] == []
