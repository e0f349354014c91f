"""PgBouncer between the service and PostgreSQL: what works through it, and what is said where nothing can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from policy_service.publisher.connection import LEADER_LOCK
from tests.faults.line import NEW, RedisServer, Services
from tests.poolers import pgbouncer
from tests.support import Process, wait_until

WRITERS, WRITES = 8, 5
# Those of transactions, which other tasks take for a moment, have other numbers.
_LEADERS_LOCKS = f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = $1 AND objid = {LEADER_LOCK}"
_OWN_OID = "SELECT oid FROM pg_database WHERE datname = current_database()"


@pytest.fixture(scope="module")
def line(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path_factory.mktemp("line")))
        yield Services(stack, new_database(), redis.url, redis.url, redis.url)


@pytest.fixture
def direct(line: Services) -> Iterator[str]:
    """The database's own URL; the service that uses it directly stands still meanwhile."""
    line.service.stop()
    yield line.database_url
    line.restart_service()


def _write(line: Services, tenant: str) -> list[int]:
    """Writes from many threads; the statuses of the answers."""

    def write(number: int) -> int:
        return line.api.put_policy(tenant, {"allow_origins": [f"https://{number}.example.com"]}).status_code

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(write, range(WRITERS * WRITES)))


def _publishes(line: Services, service: Process) -> bool:
    return bool(line.readiness(service)["publisher"] == "leading")


def _works(line: Services) -> None:
    wait_until(lambda: _publishes(line, line.service), "it publishes")
    tenant = line.new_tenant()
    assert set(_write(line, tenant)) == {200}
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    line.follows()
    history = line.api.http.get("/v1/changes", params={"tenant": tenant})
    assert history.status_code == 200


def test_everything_works_through_session_mode(line: Services, direct: str) -> None:
    with pgbouncer(direct, "session") as url:
        line.service, line.api = line.start_service(CORSPOLICY_DATABASE_URL=url)
        _works(line)
        line.service.stop()


def test_everything_works_through_transaction_mode_with_a_direct_line_for_the_publisher(
    line: Services, direct: str
) -> None:
    with pgbouncer(direct, "transaction") as url:
        settings = {"CORSPOLICY_DATABASE_URL": url, "CORSPOLICY_PUBLISHER_DATABASE_URL": direct}
        line.service, line.api = line.start_service(**settings)
        _works(line)
        line.service.stop()


def test_without_a_direct_line_transaction_mode_is_named_with_its_remedy_and_no_lock_is_left_behind(
    line: Services, direct: str
) -> None:
    with pgbouncer(direct, "transaction") as url, line.sql() as sql:
        (database,) = sql(_OWN_OID)[0]
        service, api = line.start_service(CORSPOLICY_DATABASE_URL=url)
        wait_until(lambda: line.readiness(service)["publisher"] == "blocked", "it says that it can't publish")
        (problem,) = line.readiness(service)["problems"]
        assert "transaction mode" in problem
        assert "CORSPOLICY_PUBLISHER_DATABASE_URL" in problem
        assert not sql(_LEADERS_LOCKS, database)
        with ThreadPoolExecutor(WRITERS) as threads:
            answers = list(threads.map(lambda _: api.http.get("/v1/tenants"), range(WRITERS * WRITES)))
        refused = [answer for answer in answers if not answer.is_success]
        assert refused, "no statement was prepared in one session and used in another"
        for answer in refused:
            _is_told(answer)
        service.stop()
        assert not sql(_LEADERS_LOCKS, database)


def _is_told(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert "CORSPOLICY_PUBLISHER_DATABASE_URL" in answer.json()["detail"]
