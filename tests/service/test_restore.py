"""POST /v1/tenants/{tenant}/restore: an earlier document as a new revision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.service.helpers import CONFIRM, FULL, client_with, errors, etag, new_key, problem, raw, together
from tests.support import Api, wait_until

A, B = "https://a.example.com", "https://b.example.com"
ANY = {"If-Match": "*"}


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def _restore(http: httpx.Client, tenant: str, revision: Any, **headers: str) -> httpx.Response:
    sent = {"If-Match": "*", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return http.post(f"/v1/tenants/{tenant}/restore", json={"revision": revision}, headers=sent)


def _policies(api: Api, tenant: str) -> Any:
    items = api.http.get(f"/v1/tenants/{tenant}/policies").json()["items"]
    return [{name: value for name, value in item.items() if name != "revision"} for item in items]


def _history(api: Api, tenant: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"]
    return items


def test_what_was_is_again_as_a_new_revision_and_nothing_is_overwritten(api: Api) -> None:
    tenant = api.new_tenant()
    api.http.patch(f"/v1/tenants/{tenant}", json={"name": "Before"}, headers=ANY)
    api.put_policy(tenant, FULL)
    api.put_policy(tenant, {"allow_origins": [A]}, "billing")
    revision = api.http.get(f"/v1/tenants/{tenant}").json()["revision"]
    before = _policies(api, tenant)
    api.http.patch(f"/v1/tenants/{tenant}", json={"name": "After"}, headers=ANY)
    api.put_policy(tenant, {"allow_origins": [B]})
    api.http.delete(f"/v1/tenants/{tenant}/policies/billing", headers=ANY, params=CONFIRM)
    history = _history(api, tenant)

    restored = _restore(api.http, tenant, revision, Corspolicy_Reason="undo")
    assert restored.status_code == 409, "it takes away B"
    restored = api.http.post(
        f"/v1/tenants/{tenant}/restore",
        json={"revision": revision},
        headers={"If-Match": etag(api.http.get(f"/v1/tenants/{tenant}")), "Corspolicy-Reason": "undo"},
        params=CONFIRM,
    )
    assert restored.status_code == 200, restored.text
    body = restored.json()
    assert _policies(api, tenant) == before
    shown = api.http.get(f"/v1/tenants/{tenant}")
    assert (shown.json()["name"], shown.json()["services"]) == ("Before", ["billing", "default"])
    assert etag(shown) == etag(restored) == f'"{body["revision"]}"'
    assert body["document"]["name"] == "Before"
    assert body["warnings"] == []
    assert "policy billing added" in [item["words"] for item in body["difference"]]
    assert _history(api, tenant)[1:] == history
    newest = _history(api, tenant)[0]
    assert (newest["action"], newest["reason"], newest["revision"]) == ("tenant.restore", "undo", body["revision"])
    assert body["revision"] > history[0]["revision"]


def test_restoring_what_is_there_makes_no_revision(api: Api) -> None:
    tenant = api.new_tenant()
    entry = api.allow(tenant, A)
    restored = _restore(api.http, tenant, entry["revision"])
    assert (restored.status_code, restored.json()["revision"]) == (200, entry["revision"])
    assert restored.json()["difference"] == []
    assert len(_history(api, tenant)) == 2


def test_restoring_needs_the_current_etag(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    first = api.http.get(path)
    api.allow(tenant, A)
    body = {"revision": first.json()["revision"]}
    problem(api.http.post(f"{path}/restore", json=body), 428, "precondition-required")
    stale = api.http.post(f"{path}/restore", json=body, headers={"If-Match": etag(first)})
    problem(stale, 412, "stale")
    headers = {"If-Match": stale.headers["etag"]}
    assert api.http.post(f"{path}/restore", json=body, headers=headers, params=CONFIRM).status_code == 200


def test_a_deleted_tenant_comes_back_with_everything(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, FULL, "billing")
    revision = api.http.get(f"/v1/tenants/{tenant}").json()["revision"]
    before = _policies(api, tenant)
    api.delete_tenant(tenant)
    deletion = _history(api, tenant)[0]["revision"]
    problem(_restore(api.http, tenant, revision, If_Match=f'"{revision}"'), 412, "stale")
    restored = api.http.post(f"/v1/tenants/{tenant}/restore", json={"revision": revision})
    assert restored.status_code == 200, restored.text
    assert _policies(api, tenant) == before
    assert restored.json()["revision"] > deletion
    assert [change["action"] for change in _history(api, tenant)][:2] == ["tenant.restore", "tenant.delete"]
    assert restored.json()["difference"][0]["words"] == "tenant created"


def test_a_deleted_tenant_comes_back_with_the_etag_of_its_deletion(api: Api) -> None:
    tenant = api.new_tenant()
    revision = _history(api, tenant)[0]["revision"]
    deleted = api.http.delete(f"/v1/tenants/{tenant}", headers=ANY)
    assert _restore(api.http, tenant, revision, If_Match=deleted.headers["etag"]).status_code == 200


def test_one_of_many_simultaneous_restorations_of_a_deleted_tenant_makes_it(api: Api) -> None:
    tenant = api.new_tenant()
    revision = _history(api, tenant)[0]["revision"]
    deleted = api.http.delete(f"/v1/tenants/{tenant}", headers=ANY)
    answers = together(10, lambda _: _restore(api.http, tenant, revision, If_Match=deleted.headers["etag"]))
    assert sorted(answer.status_code for answer in answers)[0] == 200
    assert {answer.status_code for answer in answers} <= {200, 409, 412}
    assert [change["action"] for change in _history(api, tenant)].count("tenant.restore") == 1


def test_entries_that_have_expired_since_are_left_out_with_a_warning(api: Api) -> None:
    tenant = api.new_tenant()
    end = datetime.now(UTC) + timedelta(seconds=1)
    api.put_policy(tenant, {"allow_origins": [A, {"pattern": B, "expires_at": end.isoformat()}]})
    revision = _history(api, tenant)[0]["revision"]
    api.put_policy(tenant, {"allow_origins": [A], "max_age": 5})
    wait_until(lambda: datetime.now(UTC) > end, "the entry expires")
    restored = _restore(api.http, tenant, revision)
    assert restored.status_code == 200, restored.text
    assert [entry["pattern"] for entry in restored.json()["document"]["policies"]["default"]["allow_origins"]] == [A]
    assert [(item["code"], item["pointer"]) for item in restored.json()["warnings"]] == [
        ("origin_expired", "/policies/default/allow_origins")
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, [""]),
        ([], [""]),
        ({}, ["/revision"]),
        ({"revision": None}, ["/revision"]),
        ({"revision": "5"}, ["/revision"]),
        ({"revision": True}, ["/revision"]),
        ({"revision": 1.0}, ["/revision"]),
        ({"revision": 0}, ["/revision"]),
        ({"revision": 2**63}, ["/revision"]),
        ({"revision": 10**30}, ["/revision"]),
        ({"revision": 1, "a/b": 1}, ["/a~1b"]),
    ],
)
def test_a_body_that_names_no_revision_is_refused(api: Api, body: Any, expected: list[str]) -> None:
    answer = api.http.post("/v1/tenants/platform/restore", content=raw(body), headers=ANY)
    assert [pointer for _, pointer in errors(answer)] == expected


def test_a_revision_that_is_not_the_tenants_own_is_not_found_and_a_deletion_not_restored(api: Api) -> None:
    tenant, other = api.new_tenant(), api.new_tenant()
    revision = _history(api, other)[0]["revision"]
    problem(_restore(api.http, tenant, revision), 404, "unknown-revision")
    problem(_restore(api.http, "nobody-here", revision), 404, "unknown-tenant")
    api.delete_tenant(tenant)
    deletion = _history(api, tenant)[0]["revision"]
    assert errors(_restore(api.http, tenant, deletion)) == [("revision_deletion", "/revision")]


def test_who_may_write_a_tenant_may_restore_it_but_bringing_one_back_takes_an_admin_key(api: Api) -> None:
    tenant = api.new_tenant()
    first = _history(api, tenant)[0]["revision"]
    api.http.patch(f"/v1/tenants/{tenant}", json={"name": "x"}, headers=ANY)
    writer = new_key(api, role="tenant", tenants=[tenant], may_write=True)["key"]
    reader = new_key(api, role="tenant", tenants=[tenant])["key"]
    with client_with(api, writer) as writing, client_with(api, reader) as reading:
        problem(_restore(reading, tenant, first), 403, "forbidden")
        assert _restore(writing, tenant, first).status_code == 200
        api.delete_tenant(tenant)
        problem(_restore(writing, tenant, first), 403, "forbidden")
    assert _restore(api.http, tenant, first).status_code == 200
