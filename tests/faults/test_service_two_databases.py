"""Two databases publish to one Redis: by mistake, on purpose, and as two copies of one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from policy_service import migrate
from policy_service.settings import Settings
from tests.conftest import Databases
from tests.faults.line import NEW, OLD, Line, Services
from tests.faults.postgres import Postgres, own_postgres
from tests.keys import EPOCH
from tests.redis_users import as_user
from tests.support import Api, Process, wait_until

STAGING = "https://staging.example.com"
# Several times as long as a publisher waits before it looks again.
LONG_SECONDS = 5.0


pytestmark = pytest.mark.usefixtures("postgres")


def _named(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _is_blocked(line: Line, service: Process, words: str) -> bool:
    readiness = line.readiness(service)
    return readiness["publisher"] == "blocked" and any(words in problem for problem in readiness["problems"])


def _stays(line: Line, tenant: str, origin: str) -> None:
    """For a while, every process goes on with what it has, and no epoch is begun."""
    epoch, end = line.published.redis.get(EPOCH), time.monotonic() + LONG_SECONDS
    while time.monotonic() < end:
        assert line.published.redis.get(EPOCH) == epoch
        for client in line.clients:
            assert line.shows(client, tenant, origin)
        time.sleep(0.1)


def _take_over(database_url: str, redis_url: str, *options: str, exit_code: int = 0) -> None:
    environment = {
        **os.environ,
        "CORSPOLICY_DATABASE_URL": database_url,
        "CORSPOLICY_REDIS_URL": as_user(redis_url, "service"),
    }
    command = [sys.executable, "-c", "from policy_service.cli.main import main; main()", "takeover", *options]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stderr


def _another_service(line: Line, database_url: str, **settings: str) -> tuple[Process, Api]:
    return line.start_service(line.redis.url, CORSPOLICY_DATABASE_URL=database_url, **settings)


@pytest.mark.parametrize("kind", ["copy", "new"])
def test_another_database_publishes_nothing_and_says_so_until_it_takes_over(
    line: Line, postgres: Postgres, tmp_path: Path, kind: str
) -> None:
    tenant = line.new_tenant()
    url = _named(line.database_url, f"another_{kind}")
    postgres.recreate(url)
    if kind == "copy":
        postgres.dump(line.database_url, tmp_path / "dump")
        postgres.restore(url, tmp_path / "dump")
    else:
        migrate.upgrade(Settings(database_url=url, redis_url=line.redis.url).database_url)
    service, api = _another_service(line, url)
    if kind == "copy":
        assert api.put_policy(tenant, {"allow_origins": [STAGING]}).status_code == 200
    wait_until(lambda: _is_blocked(line, service, "corspolicy takeover"), "it says whose Redis this is")
    standby, _ = _another_service(line, url)
    wait_until(lambda: line.readiness(standby)["publisher"] == "standing by", "it has a standby")
    told = line.readiness(standby)
    assert told["problems"] == line.readiness(service)["problems"]
    assert told["oldest_unpublished_seconds"] > 0
    _stays(line, tenant, OLD)
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    assert line.readiness()["problems"] == []

    _take_over(url, line.redis.url, exit_code=1)  # Nobody was there to say yes.
    _stays(line, tenant, NEW)
    _take_over(url, line.redis.url, "--yes")
    # The new one has no such tenant.
    line.wait_until_shown(tenant, STAGING if kind == "copy" else None)
    wait_until(lambda: _is_blocked(line, line.service, "corspolicy takeover"), "the other says so in turn")
    for process in (service, standby):
        wait_until(lambda process=process: line.readiness(process)["problems"] == [], "nothing keeps it any more")  # type: ignore[misc]
    standby.stop()

    _take_over(line.database_url, line.redis.url, "--yes")
    line.recovers(f"a {kind} database took over: the first takes its Redis back", tenant)
    wait_until(lambda: _is_blocked(line, service, "corspolicy takeover"), "the other says so again")
    service.stop()
    line.follows()


def test_two_physical_copies_do_not_fight(line: Line, postgres: Postgres) -> None:
    tenant = line.new_tenant()
    postgres.stop()
    with own_postgres(copy_of=postgres) as copy:
        postgres.start()
        wait_until(lambda: line.readiness()["publisher"] == "leading", "the first leads again")
        url = make_url(copy.url).set(database=make_url(line.database_url).database).render_as_string(False)
        service, api = _another_service(line, url)
        # Nothing tells it from the first, which is deposed: it says so, and does not fight back.
        wait_until(lambda: _is_blocked(line, line.service, "two copies of one database"), "the first says so")
        _stays(line, tenant, OLD)
        _take_over(line.database_url, line.redis.url, "--yes")
        wait_until(lambda: _is_blocked(line, service, "another database"), "the copy is told from it now")
        line.change(tenant)
        line.recovers("one of two physical copies takes over", tenant)
        assert api.put_policy(tenant, {"allow_origins": [STAGING]}).status_code == 200
        _stays(line, tenant, NEW)
        service.stop()
    line.follows()


def test_two_namespaces_share_a_redis(line: Line, postgres: Postgres) -> None:
    tenant = line.new_tenant()
    with Databases(postgres.url) as databases, ExitStack() as stack:
        url, settings = line.redis.url, {"CORSPOLICY_NAMESPACE": "other"}
        other = Services(stack, databases.create(), url, url, url, settings)
        theirs = other.new_tenant()
        other.change(theirs)
        other.wait_until_shown(theirs, NEW)
        line.change(tenant)
        line.wait_until_shown(tenant, NEW)
        assert not line.granted(line.near, theirs, NEW)
        assert not other.granted(other.near, tenant, NEW)
        for one in (line, other):
            assert one.readiness()["problems"] == []
            assert len(one.api.http.get("/v1/fleet").json()["processes"]) == len(one.clients)
        for process in (other.service, *other.clients):
            process.stop()
