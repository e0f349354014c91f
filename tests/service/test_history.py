"""The history: who changed what, when and why; in words and as data; page by page; across tenants."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.service.helpers import CONFIRM, FULL, client_with, etag, new_key, problem, together
from tests.support import Api

A, B = "https://a.example.com", "https://b.example.com"
ANY = {"If-Match": "*"}


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def _changes(http: httpx.Client, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """All changes, page after page."""
    found: list[dict[str, Any]] = []
    parameters.setdefault("limit", 3)
    while parameters.get("cursor", "") is not None:
        answer = http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= parameters["limit"]
        found += page["items"]
        parameters["cursor"] = page["next_cursor"]
    return found


def _of(api: Api, tenant: str) -> list[dict[str, Any]]:
    return _changes(api.http, f"/v1/tenants/{tenant}/changes")


def _words(change: dict[str, Any]) -> list[str]:
    return [item["words"] for item in change["difference"]]


def test_every_change_is_there_the_newest_first_with_what_it_did_in_words(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    policy = f"{path}/policies/default"
    entry = api.allow(tenant, A)["id"]
    api.http.patch(f"{policy}/origins/{entry}", json={"note": "n", "expires_at": "2099-01-01T00:00:00Z"}, headers=ANY)
    api.put_policy(tenant, {"allow_origins": [B], "allow_credentials": True, "max_age": 600, "allow_methods": ["PUT"]})
    api.put_policy(tenant, {"allow_origins": [B], "max_age": 60, "allow_headers": ["x-a"], "expose_headers": ["x-b"]})
    api.put_policy(tenant, {"allow_origins": [A]}, "billing")
    api.http.patch(path, json={"name": "Acme"}, headers=ANY)
    api.http.delete(f"{path}/policies/billing", headers=ANY, params=CONFIRM)
    api.delete_tenant(tenant)
    changes = _of(api, tenant)
    assert [(change["action"], _words(change)) for change in reversed(changes)] == [
        ("tenant.create", ["tenant created", "policy default added"]),
        ("origin.add", [f"{A} allowed"]),
        ("origin.update", [f"{A}: expires never → 2099-01-01T00:00:00Z, note changed"]),
        (
            "policy.put",
            [f"{A} no longer allowed", f"{B} allowed", "credentials switched on", "method PUT allowed",
             "max_age not sent → 600"],
        ),
        (
            "policy.put",
            ["credentials switched off", "method PUT no longer allowed", "header x-a allowed", "header x-b exposed",
             "max_age 600 → 60"],
        ),
        ("policy.put", ["policy billing added", f"billing: {A} allowed"]),
        ("tenant.rename", ["name “” → “Acme”"]),
        ("policy.delete", ["policy billing removed", f"billing: {A} no longer allowed"]),
        (
            "tenant.delete",
            ["tenant deleted", "policy default removed", f"{B} no longer allowed", "header x-a no longer allowed",
             "header x-b no longer exposed", "max_age 60 → not sent"],
        ),
    ]  # fmt: skip
    revisions = [change["revision"] for change in changes]
    assert revisions == sorted(set(revisions), reverse=True)
    assert {change["tenant"] for change in changes} == {tenant}
    assert {change["omitted"] for change in changes} == {0}


def test_the_same_as_data(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": [A], "max_age": 600}, "billing")
    api.put_policy(tenant, {"allow_origins": [{"pattern": A, "note": "n"}, B], "max_age": 60}, "billing")
    noted, added, max_age = _of(api, tenant)[0]["difference"]
    billing = {"policy": "billing", "words": "billing: max_age 600 → 60"}
    assert max_age == {**billing, "op": "replace", "field": "max_age", "before": 600, "after": 60}
    assert (added["op"], added["field"], added["before"], added["after"]["pattern"]) == (
        "add",
        "allow_origins",
        None,
        B,
    )
    assert (noted["op"], noted["before"]["note"], noted["after"]["note"]) == ("replace", None, "n")
    assert noted["before"]["id"] == noted["after"]["id"]


def test_another_order_is_a_difference_and_the_same_again_is_no_change(api: Api) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": [A, B]})
    api.put_policy(tenant, {"allow_origins": [B, A]})
    api.put_policy(tenant, {"allow_origins": [B, A]})
    changes = _of(api, tenant)
    assert len(changes) == 3
    assert _words(changes[0]) == ["allow_origins reordered"]
    api.put_policy(tenant, {"allow_origins": [A, "https://c.example.com", B]})
    assert _words(_of(api, tenant)[0]) == ["https://c.example.com allowed"]


def test_a_change_tells_who_when_for_whom_and_why(api: Api) -> None:
    tenant = api.new_tenant()
    began = datetime.now(UTC) - timedelta(seconds=5)
    headers = {"Corspolicy-Subject": "user:42", "Corspolicy-Reason": "customer moved"}
    added = api.http.post(f"/v1/tenants/{tenant}/policies/default/origins", json={"pattern": A}, headers=headers)
    change = api.http.get(f"/v1/tenants/{tenant}/changes/{added.json()['revision']}").json()
    assert (change["subject"], change["reason"]) == ("user:42", "customer moved")
    assert change["actor"] == added.json()["created_by"]
    assert began < datetime.fromisoformat(change["changed_at"]) < datetime.now(UTC) + timedelta(seconds=5)
    created = _of(api, tenant)[-1]
    assert (created["subject"], created["reason"]) == (None, None)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"plain", "plain"),
        ("Grüße ❤".encode(), "Grüße ❤"),
        (quote("Grüße ❤, 100%").encode(), "Grüße ❤, 100%"),
        (b"100% sure", "100% sure"),
        (b"x" * 500, "x" * 500),
    ],
)
def test_reasons_in_plain_and_percent_encoded_utf_8(api: Api, sent: bytes, kept: str) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    answer = api.http.patch(path, json={"name": "x"}, headers={b"If-Match": b"*", b"Corspolicy-Reason": sent})
    assert answer.status_code == 200, answer.text
    assert _of(api, tenant)[0]["reason"] == kept


@pytest.mark.parametrize("sent", [b"", b"\xff", b"%ff", b"a%00b", b"a%0Ab", b"x" * 501, b"%ED%A0%80"])
def test_a_reason_that_is_no_text_is_refused_and_nothing_is_changed(api: Api, sent: bytes) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    answer = api.http.patch(path, json={"name": "x"}, headers={b"If-Match": b"*", b"Corspolicy-Reason": sent})
    problem(answer, 400, "malformed-reason")
    assert len(_of(api, tenant)) == 1


def test_one_change_has_the_documents_before_and_after_and_the_whole_difference(api: Api) -> None:
    tenant = api.new_tenant()
    origins = [f"https://{index:03}.example.com" for index in range(150)]
    written = api.put_policy(tenant, {**FULL, "allow_origins": origins}).json()
    listed = _of(api, tenant)[0]
    assert (len(listed["difference"]), listed["omitted"]) == (100, 59)
    change = api.http.get(f"/v1/tenants/{tenant}/changes/{written['revision']}").json()
    assert (len(change["difference"]), change["omitted"]) == (159, 0)
    assert change["difference"][:100] == listed["difference"]
    assert change["before"] == {"name": "", "policies": {"default": {**change["before"]["policies"]["default"]}}}
    assert change["before"]["policies"]["default"]["allow_origins"] == []
    assert change["after"]["policies"]["default"] == {
        name: value for name, value in written.items() if name in change["after"]["policies"]["default"]
    }
    first = api.http.get(f"/v1/tenants/{tenant}/changes/{_of(api, tenant)[-1]['revision']}").json()
    assert (first["before"], first["after"]) == (None, change["before"])


def test_a_deleted_tenant_has_its_history_and_one_that_never_was_has_none(api: Api) -> None:
    tenant = api.new_tenant()
    api.delete_tenant(tenant)
    assert [change["action"] for change in _of(api, tenant)] == ["tenant.delete", "tenant.create"]
    for unknown in ("nobody-here", "A", "%00"):
        problem(api.http.get(f"/v1/tenants/{unknown}/changes"), 404, "unknown-tenant")


@pytest.mark.parametrize("revision", ["1", "999999999", str(2**63 - 1)])
def test_a_revision_of_another_tenant_or_of_nobody_is_not_found(api: Api, revision: str) -> None:
    problem(api.http.get(f"/v1/tenants/{api.new_tenant()}/changes/{revision}"), 404, "unknown-revision")


@pytest.mark.parametrize("revision", ["0", "-1", "x", "%00", str(2**63), "9" * 5000])
def test_what_is_no_revision_is_refused(api: Api, revision: str) -> None:
    problem(api.http.get(f"/v1/tenants/platform/changes/{revision}"), 422, "invalid-request")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", str(2**63), "٣"])
def test_a_cursor_that_no_page_gave_is_refused(api: Api, cursor: str) -> None:
    for path in ("/v1/changes", "/v1/tenants/platform/changes"):
        problem(api.http.get(path, params={"cursor": cursor}), 400, "malformed-cursor")


def test_changes_across_tenants_are_filtered(api: Api) -> None:
    subject = f"user:{secrets.token_hex(4)}"
    first, second = api.new_tenant(), api.new_tenant()
    headers = {"Corspolicy-Subject": subject}
    for tenant in (first, second, first):
        path = f"/v1/tenants/{tenant}/policies/default/origins"
        pattern = f"https://{secrets.token_hex(4)}.example.com"
        assert api.http.post(path, json={"pattern": pattern}, headers=headers).is_success
    api.http.patch(f"/v1/tenants/{first}", json={"name": "x"}, headers={**ANY, **headers})

    def tenants(**filters: str) -> list[str]:
        return [change["tenant"] for change in _changes(api.http, "/v1/changes", **filters)]

    key = f"key:{api.http.get('/v1/keys/self').json()['id']}"
    assert tenants(actor=subject) == [first, first, second, first]
    assert tenants(actor=subject, tenant=first) == [first] * 3
    assert tenants(actor=subject, action="tenant.rename") == [first]
    assert tenants(actor=key, tenant=second) == [second] * 2
    assert tenants(actor="key:nobody", tenant=second) == tenants(tenant="\N{CRAB}") == []
    times = [change["changed_at"] for change in _changes(api.http, "/v1/changes", actor=subject)]
    assert tenants(actor=subject, since=times[1]) == [first, first]
    assert tenants(actor=subject, until=times[1]) == [second, first]
    assert tenants(actor=subject, since=times[2], until=times[0]) == [first, second]


@pytest.mark.parametrize(
    "query",
    ["tenant=%00", "actor=a%00", "action=" + "x" * 201, "since=yesterday", "since=2026-01-01T00:00:00",
     "since=1700000000", "until=0001-01-01T00:00:00%2B23:59", "until=9999-12-31T23:59:59-23:59", "limit=0"],
)  # fmt: skip
def test_a_filter_that_is_none_is_refused(api: Api, query: str) -> None:
    problem(api.http.get(f"/v1/changes?{query}"), 422, "invalid-request")


@pytest.fixture
def own(api: Api) -> Iterator[tuple[str, httpx.Client]]:
    """A tenant that has changed, and a client with a key for it alone."""
    tenant = api.new_tenant()
    api.allow(tenant, A)
    key = new_key(api, role="tenant", tenants=[tenant], may_write=True)["key"]
    with client_with(api, key) as http:
        yield tenant, http


def test_a_tenants_key_sees_the_history_of_its_tenant_and_no_other(api: Api, own: tuple[str, httpx.Client]) -> None:
    tenant, http = own
    other = api.new_tenant()
    revision = _of(api, other)[0]["revision"]
    assert [change["tenant"] for change in _changes(http, "/v1/changes")] == [tenant] * 2
    assert _changes(http, "/v1/changes", tenant=other) == []
    assert len(_changes(http, f"/v1/tenants/{tenant}/changes")) == 2
    problem(http.get(f"/v1/tenants/{other}/changes"), 404, "unknown-tenant")
    problem(http.get(f"/v1/tenants/{other}/changes/{revision}"), 404, "unknown-tenant")
    restore = http.post(f"/v1/tenants/{other}/restore", json={"revision": revision}, headers=ANY)
    problem(restore, 404, "unknown-tenant")


def test_of_a_hundred_simultaneous_writers_every_accepted_change_is_in_the_history_and_the_rest_were_told(
    api: Api,
) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default"

    def call(method: str, **arguments: Any) -> httpx.Response:
        """Try again where all connections to the database are in use, as the answer says."""
        answers = (api.http.request(method, path, timeout=60, **arguments) for _ in range(20))
        return next(answer for answer in answers if answer.status_code != 503)

    def write(index: int) -> list[tuple[int, str]]:
        """Write three times, each time on top of what the answer before told; returns what came of it."""
        seen = []
        tag = etag(call("GET"))
        for number in range(3):
            reason = f"{index}.{number}"
            headers = {"If-Match": tag, "Corspolicy-Reason": reason}
            answer = call("PUT", json={"max_age": index * 3 + number + 1}, headers=headers)
            assert answer.status_code in (200, 412), answer.text
            seen.append((answer.status_code, reason))
            tag = answer.headers["etag"]
        return seen

    answers = [answer for seen in together(100, write) for answer in seen]
    accepted = {reason for status, reason in answers if status == 200}
    changes = _of(api, tenant)[:-1]
    assert len(answers) == 300
    assert accepted
    assert {change["reason"] for change in changes} == accepted
    assert len(changes) == len(accepted)
    # No change was made on top of another document than the one before it.
    documents = [
        api.http.get(f"/v1/tenants/{tenant}/changes/{change['revision']}").json() for change in reversed(changes)
    ]
    for before, after in pairwise(documents):
        assert after["before"] == before["after"]
