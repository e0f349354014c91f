"""/v1/keys: making, showing, rotating and revoking keys; when they end; who may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import admin_key
from tests.service.helpers import client_with, execute, new_key, problem, raw, rows, together
from tests.support import Api, Process, running, wait_until


@pytest.fixture
def own(database_url: str, redis_url: str) -> Iterator[Process]:
    """A service with a database of the test's own."""
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    with running("policy_service.app:create_app", environment) as process:
        yield process


def test_a_new_key_is_shown_once(api: Api) -> None:
    expires_at = "2099-01-31T12:00:00+01:00"
    values = {"role": "tenant", "tenants": ["platform"], "may_write": True, "description": "for ❤"}
    answer = api.http.post("/v1/keys", json={**values, "expires_at": expires_at})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    created = answer.json()
    assert answer.headers["location"] == f"/v1/keys/{created['id']}"
    text = created.pop("key")
    assert text.split("_")[1] == created["id"]
    assert values.items() <= created.items()
    assert created["expires_at"] == "2099-01-31T11:00:00Z"
    assert (created["state"], created["revoked_at"], created["replaced_by"]) == ("active", None, None)
    assert created["created_by"] == f"key:{api.http.get('/v1/keys/self').json()['id']}"
    with client_with(api, text) as http:
        own = http.get("/v1/keys/self")
        assert {**own.json(), "last_used_at": None} == created
    for path in ("/v1/keys", f"/v1/keys/{created['id']}"):
        shown = api.http.get(path).text
        assert created["id"] in shown
        assert text[-72:-8] not in shown


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/role"),
        ([], ""),
        (None, ""),
        ({"role": "root"}, "/role"),
        ({"role": ["admin"]}, "/role"),
        ({"role": "tenant"}, ""),
        ({"role": "tenant", "tenants": []}, "/tenants"),
        ({"role": "tenant", "tenants": "platform"}, "/tenants"),
        ({"role": "tenant", "tenants": ["A"]}, "/tenants/0"),
        ({"role": "tenant", "tenants": ["platform", "\ud800"]}, "/tenants/1"),
        ({"role": "tenant", "tenants": ["platform", "nobody-here"]}, "/tenants/1"),
        ({"role": "tenant", "tenants": ["platform"] * 101}, "/tenants"),
        ({"role": "admin", "tenants": ["platform"]}, ""),
        ({"role": "admin", "may_write": True}, ""),
        ({"role": "reader", "may_write": True}, ""),
        ({"role": "admin", "may_write": "yes"}, "/may_write"),
        ({"role": "admin", "description": "x" * 201}, "/description"),
        ({"role": "admin", "description": "a\nb"}, "/description"),
        ({"role": "admin", "description": "\ud800"}, "/description"),
        ({"role": "admin", "expires_at": "soon"}, "/expires_at"),
        ({"role": "admin", "expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
        ({"role": "admin", "expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"role": "admin", "expires_at": "9999-12-31T23:59:59-23:59"}, "/expires_at"),
        ({"role": "admin", "expires_at": 1e300}, "/expires_at"),
        ({"role": "admin", "expires_at": 4102444800}, "/expires_at"),
        ({"role": "admin", "expires_at": "4102444800"}, "/expires_at"),
        ({"role": "admin", "expires_at": "2099-01-01 00:00:00Z"}, "/expires_at"),
        ({"role": "admin", "id": "000000000000"}, "/id"),
    ],
)
def test_what_no_key_can_be_is_refused_and_makes_none(api: Api, body: Any, pointer: str) -> None:
    before = api.http.get("/v1/keys").json()["items"][0]["id"]
    refused = problem(api.http.post("/v1/keys", content=raw(body)), 422, "invalid-request")
    assert pointer in [item["pointer"] for item in refused["errors"]]
    assert api.http.get("/v1/keys").json()["items"][0]["id"] == before


def test_pages_hold_every_key_once_the_newest_first(api: Api) -> None:
    made = [new_key(api, role="reader", description=str(number))["id"] for number in range(5)]
    everything = [key["id"] for key in api.http.get("/v1/keys", params={"limit": 500}).json()["items"]]
    assert everything[:5] == made[::-1]
    paged, cursor = [], None
    while True:
        page = api.http.get("/v1/keys", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        paged += [key["id"] for key in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert paged == everything
    problem(api.http.get("/v1/keys", params={"cursor": "x"}), 400, "malformed-cursor")


@pytest.mark.parametrize("key", ["000000000000", "x", "%00", "%F0%9F%A6%80", "x" * 300])
def test_an_unknown_key_is_not_found(api: Api, key: str) -> None:
    problem(api.http.get(f"/v1/keys/{key}"), 404, "unknown-key")
    problem(api.http.delete(f"/v1/keys/{key}"), 404, "unknown-key")
    problem(api.http.post(f"/v1/keys/{key}/rotate", json={}), 404, "unknown-key")


def test_a_revoked_key_ends_at_once_and_stays_on_the_list(api: Api) -> None:
    key = new_key(api, role="reader")
    path = f"/v1/keys/{key['id']}"
    with client_with(api, key["key"]) as http:
        assert http.get("/v1/tenants").status_code == 200
        assert api.http.delete(path).status_code == 204
        assert "revoked" in problem(http.get("/v1/tenants"), 401, "unauthorized")["detail"]
    shown = api.http.get(path).json()
    assert shown["state"] == "revoked"
    assert api.http.delete(path).status_code == 204
    assert api.http.get(path).json() == shown
    problem(api.http.post(f"{path}/rotate", json={}), 409, "key-not-active")


def test_a_key_ends_at_its_time(api: Api) -> None:
    end = datetime.now(UTC) + timedelta(seconds=3)
    key = new_key(api, role="reader", expires_at=end.isoformat())
    with client_with(api, key["key"]) as http:
        assert http.get("/v1/tenants").status_code == 200 or datetime.now(UTC) > end
        wait_until(lambda: http.get("/v1/tenants").status_code == 401, "the key has ended")
        assert datetime.now(UTC) >= end
        assert "expired" in problem(http.get("/v1/tenants"), 401, "unauthorized")["detail"]
    assert api.http.get(f"/v1/keys/{key['id']}").json()["state"] == "expired"


def test_a_rotated_key_and_its_successor_are_both_valid_until_the_grace_ends(api: Api) -> None:
    old = new_key(api, role="tenant", tenants=["platform"], may_write=True, description="CI")
    path = f"/v1/keys/{old['id']}"
    answer = api.http.post(f"{path}/rotate", json={})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    new = answer.json()
    assert answer.headers["location"] == f"/v1/keys/{new['id']}"
    for field in ("role", "tenants", "may_write", "description", "expires_at"):
        assert new[field] == old[field]
    shown = api.http.get(path).json()
    assert shown["replaced_by"] == new["id"]
    grace = datetime.fromisoformat(shown["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert abs(grace - timedelta(days=1)) < timedelta(minutes=1)
    with client_with(api, old["key"]) as before, client_with(api, new["key"]) as after:
        assert before.get("/v1/tenants").json() == after.get("/v1/tenants").json()
        assert "rotate" in problem(api.http.post(f"{path}/rotate", json={}), 409, "key-already-rotated")["detail"]
        newest = api.http.post(f"/v1/keys/{new['id']}/rotate", json={"grace_seconds": 0}).json()
        assert newest["key"] != new["key"]
        problem(after.get("/v1/tenants"), 401, "unauthorized")
        assert before.get("/v1/tenants").status_code == 200


def test_a_successor_lives_as_long_as_the_old_key_was_made_for_or_as_is_asked(api: Api) -> None:
    expires_at = (datetime.now(UTC) + timedelta(days=90)).isoformat()
    old = new_key(api, role="reader", expires_at=expires_at)
    new = api.http.post(f"/v1/keys/{old['id']}/rotate", json={"grace_seconds": 60}).json()
    life = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert abs(life - timedelta(days=90)) < timedelta(minutes=1)
    asked = api.http.post(f"/v1/keys/{new['id']}/rotate", json={"expires_at": "2099-01-01T00:00:00Z"}).json()
    assert asked["expires_at"] == "2099-01-01T00:00:00Z"


def test_rotation_never_makes_the_old_key_live_longer(api: Api) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    old = new_key(api, role="reader", expires_at=expires_at.isoformat())
    api.http.post(f"/v1/keys/{old['id']}/rotate", json={"grace_seconds": 7200})
    assert datetime.fromisoformat(api.http.get(f"/v1/keys/{old['id']}").json()["expires_at"]) == expires_at


@pytest.mark.parametrize(
    "body", [[], None, {"grace_seconds": -1}, {"grace_seconds": 10**9}, {"grace_seconds": "1"}, {"grace_seconds": 1.5},
             {"grace_seconds": True}, {"expires_at": "2001-01-01T00:00:00Z"}, {"role": "admin"}],
)  # fmt: skip
def test_what_no_rotation_can_be_is_refused_and_changes_nothing(api: Api, body: Any) -> None:
    key = new_key(api, role="reader")
    problem(api.http.post(f"/v1/keys/{key['id']}/rotate", content=raw(body)), 422, "invalid-request")
    assert api.http.get(f"/v1/keys/{key['id']}").json()["replaced_by"] is None


def test_one_of_many_simultaneous_rotations_wins(api: Api) -> None:
    key = new_key(api, role="reader")
    answers = together(8, lambda _: api.http.post(f"/v1/keys/{key['id']}/rotate", json={}))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize("role", ["reader", "tenant"])
def test_only_an_admin_key_manages_keys_but_every_key_sees_itself(api: Api, role: str) -> None:
    tenants = {"tenants": ["platform"], "may_write": True} if role == "tenant" else {}
    key, other = new_key(api, role=role, **tenants), new_key(api, role="reader")
    with client_with(api, key["key"]) as http:
        for own in ("self", key["id"]):
            assert http.get(f"/v1/keys/{own}").json()["id"] == key["id"]
            problem(http.delete(f"/v1/keys/{own}"), 403, "forbidden")
            problem(http.post(f"/v1/keys/{own}/rotate", json={}), 403, "forbidden")
        problem(http.get("/v1/keys"), 403, "forbidden")
        problem(http.post("/v1/keys", json={"role": "admin"}), 403, "forbidden")
        for unseen in (other["id"], "000000000000"):
            problem(http.get(f"/v1/keys/{unseen}"), 403, "forbidden")
            problem(http.delete(f"/v1/keys/{unseen}"), 403, "forbidden")
    assert api.http.get(f"/v1/keys/{other['id']}").json()["state"] == "active"


def test_the_last_admin_key_is_not_revoked_not_even_by_two_that_revoke_each_other(own: Process) -> None:
    database_url = own.environment["CORSPOLICY_DATABASE_URL"]
    first, second = (Api(own.url, admin_key(database_url)) for _ in range(2))
    with first.http, second.http:
        ids = [admin.http.get("/v1/keys/self").json()["id"] for admin in (first, second)]
        answers = together(2, lambda index: (first, second)[index].http.delete(f"/v1/keys/{ids[1 - index]}"))
        # The later one finds that it would end the last key, or that it was revoked itself.
        assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])
        [(left,)] = rows(database_url, "SELECT id FROM api_keys WHERE revoked_at IS NULL")
        last = (first, second)[ids.index(left)]
        new_key(last, role="reader")
        problem(last.http.delete(f"/v1/keys/{left}"), 409, "last-admin-key")
        new_key(last, role="admin")
        assert last.http.delete(f"/v1/keys/{left}").status_code == 204


def test_the_last_use_of_a_key_is_noted_at_most_once_a_minute(service: Process, api: Api) -> None:
    def used(key: dict[str, Any]) -> Any:
        return api.http.get(f"/v1/keys/{key['id']}").json()["last_used_at"]

    key, other = new_key(api, role="reader"), new_key(api, role="reader")
    assert used(key) is used(other) is None
    with client_with(api, key["key"]) as http, client_with(api, other["key"]) as other_http:
        http.get("/v1/tenants")
        first = wait_until(lambda: used(key), "the use of the key is noted")
        assert datetime.now(UTC) - datetime.fromisoformat(first) < timedelta(minutes=1)
        http.get("/v1/tenants")
        # Uses are noted in turn: when the next one is, this one would have been.
        other_http.get("/v1/tenants")
        wait_until(lambda: used(other), "the use of the other key is noted")
        assert used(key) == first
        earlier = f"UPDATE api_keys SET last_used_at = '2001-01-01' WHERE id = '{key['id']}'"
        execute(service.environment["CORSPOLICY_DATABASE_URL"], earlier)
        http.get("/v1/tenants")
        wait_until(lambda: used(key) > first, "the use is noted again after a minute")


def test_a_use_that_cannot_be_noted_is_in_nobodys_way(own: Process) -> None:
    database_url = own.environment["CORSPOLICY_DATABASE_URL"]
    refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$"
    execute(database_url, refuse)
    execute(database_url, "CREATE TRIGGER refuse BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION refuse()")
    admin = Api(own.url, admin_key(database_url))
    with admin.http:
        for _ in range(20):
            admin.new_tenant()
        assert admin.http.get("/v1/keys/self").json()["last_used_at"] is None
