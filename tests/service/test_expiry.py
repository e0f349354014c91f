"""Entries that have expired are taken out of the document, as a change, by one replica at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policy_service.database import create_engine, create_sessions
from policy_service.publisher.expiry import expire_forever
from tests.conftest import admin_key
from tests.service.helpers import driver_url, execute, rows
from tests.support import Api, Process, running, wait_until

A, B, C = (f"https://{name}.example.com" for name in "abc")
PAST, LATER = "2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def replicas(service: Process) -> Iterator[list[Process]]:
    """Two services of one database, that look often for what has expired."""
    environment = {**service.environment, "CORSPOLICY_EXPIRE_EVERY_SECONDS": "0.1"}
    application = "policy_service.app:create_app"
    with running(application, environment) as first, running(application, environment) as second:
        yield [first, second]


@pytest.fixture(scope="module")
def api(replicas: list[Process]) -> Iterator[Api]:
    api = Api(replicas[0].url, admin_key(replicas[0].environment["CORSPOLICY_DATABASE_URL"]))
    with api.http:
        yield api


def _changes(api: Api, tenant: str, action: str = "origin.expire") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"]
    return [change for change in items if change["action"] == action]


def _patterns(api: Api, tenant: str, service: str = "default") -> list[str]:
    items = api.http.get(f"/v1/tenants/{tenant}/policies/{service}").json()["allow_origins"]
    return [entry["pattern"] for entry in items]


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=1)).isoformat()


def test_it_ends_for_no_exception(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [KeyError("a"), RuntimeError("b"), RecursionError("c")]
    successes = 0

    async def run() -> None:
        engine = create_engine(driver_url(database_url))
        sessions = create_sessions(engine)
        begin = sessions.begin

        def fail_first() -> Any:
            nonlocal successes
            if errors:
                raise errors.pop(0)
            successes += 1
            return begin()

        monkeypatch.setattr(sessions, "begin", fail_first)
        task = asyncio.create_task(expire_forever(sessions, 0.01))
        async with asyncio.timeout(20):
            while successes < 2 and not task.done():
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})
        await engine.dispose()

    asyncio.run(run())
    warning = next(record for record in caplog.records if record.name == "policy_service.publisher.expiry")
    assert warning.levelname == "WARNING"
    assert warning.getMessage() == "expired origins are not removed, trying again: KeyError"
    assert warning.exc_info is not None


def test_of_a_tenant_what_has_expired_is_removed_together_and_not_before_the_first_is_old_enough(
    database_url: str,
) -> None:
    """However many expire, in turn, a document is written again once in that time."""
    for slug, ages in (("mixed", (7200, 10, -7200)), ("lately", (10, 20))):
        entries = ", ".join(
            f"""jsonb_build_object('id', '{age}', 'pattern', 'https://a{age + 9000}.example.com', 'created_by', 'x',
            'created_at', now(), 'expires_at', now() - interval '{age} seconds')"""
            for age in ages
        )
        policy = f"jsonb_build_object('allow_origins', jsonb_build_array({entries}))"
        document = f"jsonb_build_object('policies', jsonb_build_object('default', {policy}))"
        execute(
            database_url,
            "INSERT INTO tenants (slug, revision, document, next_expiry) VALUES"
            f" ('{slug}', nextval('revisions'), {document}, now() - interval '{max(ages)} seconds')",
        )

    async def run() -> None:
        engine = create_engine(driver_url(database_url))
        task = asyncio.create_task(expire_forever(create_sessions(engine), 3600))
        try:
            async with asyncio.timeout(20):
                while not await asyncio.to_thread(rows, database_url, removals):
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.wait({task})
            await engine.dispose()

    removals = "SELECT tenant, jsonb_array_length(difference) FROM changes WHERE action = 'origin.expire'"
    asyncio.run(run())
    assert rows(database_url, removals) == [("mixed", 2)]


def test_what_has_expired_is_removed_from_every_policy_as_one_change_and_the_rest_stays(api: Api) -> None:
    tenant = api.new_tenant()
    end = _soon()
    api.put_policy(tenant, {"allow_origins": [{"pattern": C, "expires_at": end}]}, "billing")
    api.put_policy(
        tenant, {"allow_origins": [A, {"pattern": B, "expires_at": end}, {"pattern": C, "expires_at": LATER}]}
    )
    wait_until(lambda: _patterns(api, tenant) == [A, C], "what has expired is removed")
    assert _patterns(api, tenant, "billing") == []
    assert datetime.now(UTC) >= datetime.fromisoformat(end)
    (change,) = _changes(api, tenant)
    assert (change["actor"], change["subject"], change["reason"]) == ("corspolicy", None, None)
    assert [item["words"] for item in change["difference"]] == [
        f"billing: {C} removed: expired {end.replace('+00:00', 'Z')}",
        f"{B} removed: expired {end.replace('+00:00', 'Z')}",
    ]


def test_the_only_entry_is_removed_without_anybody_to_confirm_it_and_what_was_past_at_once_too(api: Api) -> None:
    tenant = api.new_tenant()
    added = api.http.post(f"/v1/tenants/{tenant}/policies/default/origins", json={"pattern": A, "expires_at": PAST})
    assert added.status_code == 201
    wait_until(lambda: _changes(api, tenant), "what has expired is removed")
    assert _patterns(api, tenant) == []


def test_an_entry_whose_end_is_put_off_stays(api: Api) -> None:
    tenant = api.new_tenant()
    entries = [{"pattern": pattern, "expires_at": _soon()} for pattern in (A, B)]
    path = f"/v1/tenants/{tenant}/policies/default"
    written = api.put_policy(tenant, {"allow_origins": entries}).json()["allow_origins"]
    kept = f"{path}/origins/{written[0]['id']}"
    assert api.http.patch(kept, json={"expires_at": LATER}, headers={"If-Match": "*"}).status_code == 200
    wait_until(lambda: _patterns(api, tenant) == [A], "the other one is removed")
    assert [len(change["difference"]) for change in _changes(api, tenant)] == [1]


def test_many_tenants_at_once_and_each_once_though_two_services_look(api: Api, replicas: list[Process]) -> None:
    database_url = replicas[0].environment["CORSPOLICY_DATABASE_URL"]
    document = (
        '{"name": "", "policies": {"default": {"allow_origins": [{"id": "x", "pattern": "https://a.example.com",'
        ' "created_by": "test", "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z"}]}}}'
    )
    # Written behind the service's back, with an unreadable one among them, which keeps no other from it.
    execute(
        database_url,
        "INSERT INTO tenants (slug, revision, document, next_expiry)"
        " SELECT 'many-' || number, nextval('revisions'),"
        f" CASE number WHEN 5 THEN '{{\"policies\": 5}}' ELSE '{document}'::jsonb END, '2026-01-02T00:00:00Z'"
        " FROM generate_series(1, 250) AS number".replace(":", "\\:"),
    )
    removed = "SELECT count(*), count(DISTINCT tenant) FROM changes WHERE tenant LIKE 'many-%'"
    wait_until(lambda: rows(database_url, removed)[0][1] == 249, "what has expired is removed")
    assert rows(database_url, removed) == [(249, 249)]
    execute(database_url, "DELETE FROM tenants WHERE slug = 'many-5'")


def test_when_a_tenants_first_entry_expires_is_known_whatever_changes_it(api: Api, replicas: list[Process]) -> None:
    tenant = api.new_tenant()
    database_url = replicas[0].environment["CORSPOLICY_DATABASE_URL"]

    def next_expiry() -> str | None:
        query = f"SELECT to_char(next_expiry AT TIME ZONE 'UTC', 'YYYY') FROM tenants WHERE slug = '{tenant}'"
        year: str | None = rows(database_url, query)[0][0]
        return year

    def ending(pattern: str, year: int) -> dict[str, str]:
        return {"pattern": pattern, "expires_at": f"{year}-06-01T00:00:00Z"}

    assert next_expiry() is None
    api.put_policy(tenant, {"allow_origins": [A, ending(B, 2090)]})
    assert next_expiry() == "2090"
    api.put_policy(tenant, {"allow_origins": [ending(C, 2080)]}, "billing")
    assert next_expiry() == "2080"
    revision = api.http.get(f"/v1/tenants/{tenant}").json()["revision"]
    path = f"/v1/tenants/{tenant}/policies/billing"
    assert api.http.delete(path, headers={"If-Match": "*"}, params={"confirm": "true"}).status_code == 204
    assert next_expiry() == "2090"
    api.put_policy(tenant, {"allow_origins": [A]})
    assert next_expiry() is None
    api.delete_tenant(tenant)
    assert api.http.post(f"/v1/tenants/{tenant}/restore", json={"revision": revision}).status_code == 200
    assert next_expiry() == "2080"
