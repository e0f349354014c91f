"""What stops or slows down the publisher: a database that was young when it connected, a leader that freezes."""

from __future__ import annotations

import signal

from tests.faults.line import NEW, Line, Sql
from tests.support import wait_until

BULK = 20_000
_ROWS_READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'changes'"
_INSERT_PUBLISHED = """
    INSERT INTO changes (revision, tenant, actor, action, compacted_at, published_at, position)
    SELECT nextval('revisions'), 'platform', 'test', 'policy.put', now(), now(), last + number
    FROM generate_series(1, $1) AS number, (SELECT max(position) AS last FROM changes) AS positions
"""


_OTHER_SESSIONS = """
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def _rows_read(sql: Sql) -> int:
    return int(sql(_ROWS_READ)[0][0])


def test_marking_one_change_reads_few_rows_however_many_there_are(line: Line) -> None:
    with line.sql() as sql:
        # Statistics as they were when the table was nearly empty: no plan is made again because they change.
        sql("ALTER TABLE changes SET (autovacuum_enabled = false)")
        line.service.stop()
        line.restart_service()
        tenant = line.new_tenant()
        for _ in range(6):  # PostgreSQL keeps a plan from the sixth execution on.
            line.follows()
        sql(_INSERT_PUBLISHED, BULK)
        before = _rows_read(sql)
        line.change(tenant)
        wait_until(lambda: line.readiness()["unpublished"] == 0, "the change is marked", 60)
        line.wait_until_shown(tenant, NEW)
        line.service.stop()
        wait_until(lambda: not sql(_OTHER_SESSIONS), "every session has ended, with its statistics")
        assert _rows_read(sql) - before < BULK / 10
    line.restart_service()


def test_a_frozen_leader_is_replaced(line: Line) -> None:
    tenant = line.new_tenant()
    old = line.service
    line.service, line.api = line.start_service()
    old.signal(signal.SIGSTOP)
    try:
        line.change(tenant)
        wait_until(lambda: line.readiness()["oldest_unpublished_seconds"] > 1, "the change is seen to wait")
        line.recovers("leader frozen, from the first change that it does not publish", tenant, within=15.0)
    finally:
        old.signal(signal.SIGCONT)
    wait_until(lambda: line.readiness(old)["publisher"] == "standing by", "the old leader knows that it is none")
    line.follows()
    old.stop()
