"""The database is put back to an earlier state: from a dump, from a copy of its files, or its sequences alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.line import NEW, OLD, Line
from tests.faults.postgres import Postgres
from tests.support import wait_until

LATER = "https://later.example.com"
# How much further than the dump the database was: more than one may take for what is only not marked yet.
CHANGES = 5


pytestmark = pytest.mark.usefixtures("postgres")


def _lose(line: Line, tenant: str) -> None:
    """Changes that the restored database will not have."""
    for number in range(CHANGES):
        line.put(tenant, f"https://{number}.example.com")
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    wait_until(lambda: line.readiness()["unpublished"] == 0, "everything is marked")


def _is_as_dumped(line: Line, fault: str, tenant: str, other: str) -> None:
    """Every process holds what the restored database has, and applies what comes."""
    line.recovers(fault, tenant, OLD, keeping=other)
    line.put(tenant, LATER)
    line.wait_until_shown(tenant, LATER)
    line.change(other)
    line.wait_until_shown(other, NEW)
    assert line.readiness()["problems"] == []
    (late,) = line.start_clients(line.redis.url)
    line.wait_until_shown(tenant, LATER, late)
    late.stop()


def test_a_dump_is_restored_while_the_service_is_stopped(line: Line, postgres: Postgres, tmp_path: Path) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    postgres.dump(line.database_url, tmp_path / "dump")
    _lose(line, tenant)
    line.service.stop()
    postgres.recreate(line.database_url)
    postgres.restore(line.database_url, tmp_path / "dump")
    line.restart_service()
    _is_as_dumped(line, "dump restored, from the service's start", tenant, other)


def test_a_dump_is_restored_under_a_running_service(line: Line, postgres: Postgres, tmp_path: Path) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    postgres.dump(line.database_url, tmp_path / "dump")
    _lose(line, tenant)
    postgres.restore(line.database_url, tmp_path / "dump", "--clean", "--if-exists", "--single-transaction")
    _is_as_dumped(line, "dump restored under a running service", tenant, other)


def test_the_data_folder_is_put_back(line: Line, postgres: Postgres) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    copy = postgres.folder.with_name("copy")
    postgres.stop()
    postgres.copy_to(copy)
    postgres.start()
    wait_until(lambda: line.readiness()["ready"], "the database is back")
    _lose(line, tenant)
    postgres.stop()
    Postgres(copy).copy_to(postgres.folder)
    postgres.start()
    _is_as_dumped(line, "data folder put back, from PostgreSQL's start", tenant, other)


def test_the_sequences_are_set_back(line: Line) -> None:
    tenant = line.new_tenant()
    policy = {"allow_origins": [NEW]}
    with line.sql() as sql:
        sql("SELECT setval('revisions', 1), setval('publisher_terms', 1)")
        answer = line.api.put_policy(tenant, policy)
        # Until the publisher has seen it, the next revisions are those of changes that were made.
        assert answer.status_code in (200, 503), answer.text
        is_lifted = "SELECT FROM revisions WHERE last_value >= (SELECT max(revision) FROM changes)"
        line.measure("sequences set back, until the next revision is a new one", lambda: sql(is_lifted))
    assert line.api.put_policy(tenant, policy).status_code == 200
    line.recovers("sequences set back, from the first change that is taken", tenant)
    line.service.stop()
    line.restart_service()
    line.follows()
