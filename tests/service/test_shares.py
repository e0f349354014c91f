"""What one key or address holds of a service process while the database makes it wait, and that others are served."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from tests import servers
from tests.conftest import admin_api, service_environment
from tests.service.helpers import forged, new_key, problem
from tests.support import Api, Process, running

PER_KEY = 30
QUICK_SECONDS = 3.0
"""Less than the service waits for a connection."""


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    with servers.redis() as redis_url:
        environment = service_environment(new_database(), redis_url) | {
            "CORSPOLICY_MAX_REQUESTS_PER_KEY": str(PER_KEY),
            "CORSPOLICY_QUEUE_TIMEOUT_SECONDS": "20",
        }
        with running("policy_service.app:create_app", environment) as process:
            yield process


@pytest.fixture(scope="module")
def api(service: Process) -> Iterator[Api]:
    with admin_api(service) as api:
        yield api


class _Lock:
    """A lock in the database that makes the service wait, until it is released."""

    def __init__(self, service: Process, statement: str) -> None:
        self._url = service.environment["CORSPOLICY_DATABASE_URL"]
        self._statement = statement

    async def __aenter__(self) -> _Lock:
        self._connection = await asyncpg.connect(self._url)
        await self._connection.execute(f"BEGIN; {self._statement}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def release(self) -> None:
        await self._connection.execute("ROLLBACK")

    async def held_up(self) -> int:
        """How many of the service's connections wait."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        count: int = await self._connection.fetchval(query)
        return count

    async def hold_up(self, number: int) -> None:
        """Return when so many wait."""
        async with asyncio.timeout(20):
            while await self.held_up() < number:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _flood(
    service: Process, key: str, number: int, method: str, path: str, bodies: Callable[[int], Any] | None = None
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """So many requests at the same moment."""
    async with _client(service, key) as http:

        def send(index: int) -> asyncio.Task[httpx.Response]:
            # Nothing else is sent with an Idempotency-Key.
            headers = {"Idempotency-Key": secrets.token_hex(8)} if method == "POST" and index % 2 else {}
            body = None if bodies is None else bodies(index)
            return asyncio.create_task(http.request(method, path, json=body, headers=headers))

        yield [send(index) for index in range(number)]


def _client(service: Process, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=service.url, headers=headers, timeout=30, limits=limits)


def _tenant_key(api: Api, tenant: str) -> str:
    key: str = new_key(api, role="tenant", tenants=[tenant], may_write=True)["key"]
    return key


async def _status(service: Process, key: str, path: str) -> int:
    async with _client(service, key) as http, asyncio.timeout(QUICK_SECONDS):
        return (await http.get(path)).status_code


def test_writes_of_a_tenant_wait_for_each_other_without_a_connection(service: Process, api: Api) -> None:
    tenant, other = api.new_tenant(), api.new_tenant()
    key, other_key = _tenant_key(api, tenant), _tenant_key(api, other)

    async def run() -> None:
        # Half of them with an Idempotency-Key, for which a transaction is begun before the change.
        path = f"/v1/tenants/{tenant}/policies/default/origins"
        async with (
            _Lock(service, f"SELECT 1 FROM tenants WHERE slug = '{tenant}' FOR UPDATE") as lock,
            _flood(service, key, 20, "POST", path, lambda index: {"pattern": f"https://a{index}.example.com"}) as tasks,
        ):
            await lock.hold_up(1)
            assert await _status(service, other_key, f"/v1/tenants/{other}") == 200
            assert await lock.held_up() == 1
            await lock.release()
            assert {(await task).status_code for task in tasks} == {201}

    asyncio.run(run())


def test_a_key_uses_its_share_of_the_connections_and_has_so_many_requests_in_progress(
    service: Process, api: Api
) -> None:
    path = f"/v1/tenants/{api.new_tenant()}"
    key, other_key = (new_key(api, role="reader")["key"] for _ in range(2))

    async def run() -> None:
        async with (
            _Lock(service, "LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE") as lock,
            _flood(service, key, PER_KEY + 5, "GET", path) as tasks,
        ):
            await lock.hold_up(3)
            for task in await _first(tasks, 5):
                detail = problem(task.result(), 429, "too-many-requests")["detail"]
                assert f"{PER_KEY} requests" in detail
                assert "CORSPOLICY_MAX_REQUESTS_PER_KEY" in detail
                assert int(task.result().headers["retry-after"]) >= 1
            assert await _status(service, other_key, "/v1/keys/self") == 200
            assert await lock.held_up() == 3
            # Some go away, with a connection or without.
            waiting = [task for task in tasks if not task.done()]
            for task in waiting[::2]:
                task.cancel()
            await asyncio.wait(waiting[::2])
            await lock.release()
            assert {(await task).status_code for task in waiting[1::2]} == {200}
        # Nothing of what they had is lost.
        async with _flood(service, key, PER_KEY, "GET", path) as tasks:
            assert {(await task).status_code for task in tasks} == {200}

    asyncio.run(run())


async def _first(tasks: Sequence[asyncio.Task[httpx.Response]], number: int) -> list[asyncio.Task[httpx.Response]]:
    """Those that are answered, when there are so many."""
    async with asyncio.timeout(20):
        while len(done := [task for task in tasks if task.done()]) < number:
            await asyncio.sleep(0.01)
    return done


def test_looking_up_keys_takes_few_connections(service: Process, api: Api) -> None:
    wrong = forged(new_key(api, role="reader")["key"], secret="0" * 64)

    async def run() -> None:
        async with (
            _Lock(service, "LOCK TABLE hash_secret IN ACCESS EXCLUSIVE MODE") as lock,
            _flood(service, wrong, 40, "GET", "/v1/keys/self") as tasks,
        ):
            await lock.hold_up(2)
            assert await _status(service, wrong, "/readyz") == 200
            assert await lock.held_up() == 2
            await lock.release()
            assert {(await task).status_code for task in tasks} == {401}

    asyncio.run(run())
