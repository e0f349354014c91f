"""/livez and /readyz: what works, and that changes are taken without Redis and published when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from corspolicy.sync.wire import is_reserved
from tests import servers
from tests.conftest import admin_key
from tests.keys import DOCUMENTS
from tests.service.helpers import driver_url, problem
from tests.support import Api, Process, free_port, running, wait_until


@contextmanager
def _service(database_url: str, redis_url: str, key_database_url: str | None = None) -> Iterator[Api]:
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    with running("policy_service.app:create_app", environment) as process:
        api = Api(process.url, admin_key(key_database_url or database_url))
        with api.http:
            yield api


def _readiness(api: Api) -> dict[str, Any]:
    answer = api.http.get("/readyz")
    assert answer.status_code == 200, answer.text
    readiness: dict[str, Any] = answer.json()
    assert (readiness["ready"], readiness["database"]) == (True, True)
    return readiness


def _is_published(api: Api) -> bool:
    readiness = _readiness(api)
    return (readiness["redis"], readiness["publisher"], readiness["unpublished"]) == (True, "leading", 0)


def _published(redis_url: str) -> set[bytes]:
    with redis.Redis.from_url(redis_url) as client:
        documents: dict[bytes, bytes] = client.hgetall(DOCUMENTS)
        return {field for field in documents if not is_reserved(field)}


def test_with_everything_up_it_lives_is_ready_and_publishes(api: Api, service: Process) -> None:
    assert api.http.get("/livez").json() == {"status": "ok"}
    tenant = api.new_tenant()
    wait_until(lambda: _is_published(api), "everything is published")
    readiness = _readiness(api)
    assert (readiness["oldest_unpublished_seconds"], readiness["problems"]) == (None, [])
    assert {b"platform", tenant.encode()} <= _published(service.environment["CORSPOLICY_REDIS_URL"])


def test_without_redis_it_is_ready_takes_changes_and_publishes_them_when_redis_comes(
    database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    redis_url = f"redis://127.0.0.1:{port}/0"
    with _service(database_url, redis_url) as api:
        assert _readiness(api)["redis"] is False
        tenant = api.new_tenant()
        api.allow(tenant, "https://a.example.com")
        assert _readiness(api)["unpublished"] == 3  # The platform's creation is one.
        with servers.redis_at(tmp_path, port):
            wait_until(lambda: _is_published(api), "everything is published")
            assert _published(redis_url) == {b"platform", tenant.encode()}


def test_while_redis_hangs_it_is_ready_and_takes_changes(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    redis_url = f"redis://127.0.0.1:{port}/0"
    with servers.redis_at(tmp_path, port), _service(database_url, redis_url) as api:
        wait_until(lambda: _is_published(api), "everything is published")
        with redis.Redis.from_url(redis_url) as client:
            server: Any = client.info("server")
        os.kill(server["process_id"], signal.SIGSTOP)
        try:
            tenant = api.new_tenant()
            readiness = _readiness(api)
            assert (readiness["redis"], readiness["unpublished"]) == (False, 1)
            assert 0 < readiness["oldest_unpublished_seconds"] < 20
            assert api.http.get("/livez").status_code == 200
            api.allow(tenant, "https://a.example.com")
        finally:
            os.kill(server["process_id"], signal.SIGCONT)
        wait_until(lambda: _is_published(api), "everything is published")
        assert _published(redis_url) == {b"platform", tenant.encode()}


def test_without_its_database_it_lives_is_not_ready_and_says_when_to_try_again(
    database_url: str, redis_url: str
) -> None:
    nobody = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    with _service(nobody, redis_url, database_url) as api:
        assert api.http.get("/livez").status_code == 200
        answer = api.http.get("/readyz")
        assert answer.status_code == 503
        found = {name: answer.json()[name] for name in ("ready", "database", "redis", "unpublished")}
        assert found == {"ready": False, "database": False, "redis": True, "unpublished": None}
        for method, path in (("GET", "/v1/tenants"), ("POST", "/v1/decisions"), ("DELETE", "/v1/tenants/acme")):
            refused = api.http.request(method, path)
            problem(refused, 503, "database-unavailable")
            assert refused.headers["retry-after"] == "1"


@contextmanager
def _row_held(database_url: str, tenant: str) -> Iterator[None]:
    """Hold the row of a tenant, as a transaction that does not end."""
    with asyncio.Runner() as runner:
        engine = create_async_engine(driver_url(database_url))
        connection = engine.connect()

        async def hold() -> None:
            await connection.start()
            await connection.execute(text(f"SELECT * FROM tenants WHERE slug = '{tenant}' FOR UPDATE"))

        async def release() -> None:
            await connection.close()
            await engine.dispose()

        runner.run(hold())
        try:
            yield
        finally:
            runner.run(release())


def test_with_every_connection_in_use_it_says_to_try_again(api: Api, service: Process) -> None:
    path = f"/v1/tenants/{api.new_tenant()}"

    def rename(number: int) -> httpx.Response:
        return api.http.patch(path, json={"name": f"{number}"}, headers={"If-Match": "*"}, timeout=30)

    with ThreadPoolExecutor(20) as threads:
        with _row_held(service.environment["CORSPOLICY_DATABASE_URL"], path.rpartition("/")[2]):
            waiting = [threads.submit(rename, number) for number in range(20)]
            wait_until(lambda: any(call.done() for call in waiting), "one is refused")
        answers = [call.result() for call in waiting]
    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if not answer.is_success:
            problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
