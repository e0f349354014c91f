"""What goes on for long ends within a second of its key: event streams, and waits for processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import pytest

from policy_service.auth.callers import Caller
from policy_service.auth.key_watch import KeyWatch
from policy_service.database import create_engine, create_sessions
from tests.conftest import admin_api, admin_key, service_environment
from tests.service.following import Following
from tests.service.helpers import client_with, driver_url, execute, new_key, problem
from tests.support import Api, Process, free_port, running, wait_until

SECONDS = 1.0


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """A service out of reach of Redis: nothing is ever published, and who waits for that waits in vain."""
    environment = service_environment(database_url, f"redis://127.0.0.1:{free_port()}/0")
    with running("policy_service.app:create_app", environment) as process, admin_api(process) as api:
        yield api


@pytest.fixture(params=["revoked", "expired"])
def end(request: pytest.FixtureRequest, api: Api, database_url: str) -> Any:
    """Ends a key, by its id."""

    def revoke(key_id: str) -> None:
        assert api.http.delete(f"/v1/keys/{key_id}").status_code == 204

    def expire(key_id: str) -> None:
        execute(database_url, f"UPDATE api_keys SET expires_at = now() WHERE id = '{key_id}'")

    return {"revoked": revoke, "expired": expire}[request.param]


def test_an_event_stream_ends(api: Api, end: Any) -> None:
    key, other = new_key(api, role="reader"), new_key(api, role="reader")
    with (
        client_with(api, key["key"]) as http,
        client_with(api, other["key"]) as http_of_other,
        Following(http) as following,
        Following(http_of_other) as going_on,
    ):
        end(key["id"])
        wait_until(lambda: following.has_ended, "the stream ends", SECONDS)
        assert following.error is None
        position = going_on.last_id
        wait_until(lambda: going_on.last_id != position or not going_on.has_ended, "the other goes on")
        assert not going_on.has_ended


def test_waiting_for_processes_ends(api: Api, end: Any) -> None:
    tenant = api.new_tenant()
    revision = api.allow(tenant, "https://a.example.com")["revision"]
    key = new_key(api, role="tenant", tenants=[tenant])
    with client_with(api, key["key"]) as http, ThreadPoolExecutor(1) as thread:
        path = f"/v1/revisions/{revision}/propagation"
        answer = thread.submit(http.get, path, params={"wait": 60}, timeout=60)
        wait_until(lambda: api.http.get(f"/v1/keys/{key['id']}").json()["last_used_at"], "it waits")
        end(key["id"])
        wait_until(answer.done, "the wait ends", SECONDS)
        detail = problem(answer.result(), 401, "unauthorized")["detail"]
        assert detail == "The key was revoked or has expired while it waited: ask an administrator for another."


def test_a_write_that_waits_is_answered_as_one_that_did_not(api: Api, end: Any) -> None:
    tenant = api.new_tenant()
    key = new_key(api, role="tenant", tenants=[tenant], may_write=True)
    with client_with(api, key["key"]) as http, ThreadPoolExecutor(1) as thread:
        path, body = f"/v1/tenants/{tenant}/policies/default/origins", {"pattern": "https://a.example.com"}
        headers = {"Prefer": "wait=60"}
        answer = thread.submit(http.post, path, json=body, headers=headers, timeout=60)
        wait_until(lambda: api.http.get(path).json()["items"], "the change is made")
        end(key["id"])
        wait_until(answer.done, "the wait ends", SECONDS)
        result: httpx.Response = answer.result()
        assert (result.status_code, "preference-applied" in result.headers) == (201, False)
        problem(http.get(path), 401, "unauthorized")


def test_keys_are_looked_at_again_after_the_database_was_away(service: Process) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    with admin_api(service) as api:
        key = new_key(api, role="reader")
        with client_with(api, key["key"]) as http, Following(http) as following:
            execute(database_url, "ALTER TABLE api_keys RENAME COLUMN revoked_at TO hidden")
            execute(database_url, f"UPDATE api_keys SET hidden = now() WHERE id = '{key['id']}'")
            execute(database_url, "ALTER TABLE api_keys RENAME COLUMN hidden TO revoked_at")
            wait_until(lambda: following.has_ended, "the stream ends")


def test_a_stream_that_is_opened_while_the_keys_are_looked_at_goes_on(database_url: str) -> None:
    ended, new = (Caller(f"key:{admin_key(database_url).split('_')[1]}") for _ in range(2))
    execute(database_url, f"UPDATE api_keys SET revoked_at = now() WHERE id = '{ended.actor.removeprefix('key:')}'")

    async def run() -> None:
        engine = create_engine(driver_url(database_url))
        connection = await asyncpg.connect(database_url)
        watch, has_ended, is_new_ended = KeyWatch(create_sessions(engine)), asyncio.Event(), asyncio.Event()
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'api_keys'::regclass"
        async with asyncio.timeout(20):
            await connection.execute("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
            with watch.watching(ended, has_ended.set):
                task = asyncio.create_task(watch.run())
                while await connection.fetchval(waiting) is None:
                    await asyncio.sleep(0.01)
                with watch.watching(new, is_new_ended.set):
                    await connection.execute("ROLLBACK")
                    await has_ended.wait()
                    assert not is_new_ended.is_set()
        task.cancel()
        await asyncio.wait({task})
        await connection.close()
        await engine.dispose()

    asyncio.run(run())
