"""The policy service or PostgreSQL dies, at the worst moments."""

from __future__ import annotations

import datetime
import signal
import time

import httpx
import pytest

from policy_service.publisher.scripts import BEGIN_EPOCH, END_EPOCH, WRITE
from tests.faults.line import NEW, OLD, Line, run_of
from tests.faults.postgres import Postgres
from tests.faults.proxy import Way
from tests.keys import EPOCH
from tests.support import wait_until

LAST = "https://last.example.com"
UNPUBLISHED = "SELECT revision FROM changes WHERE published_at IS NULL"


pytestmark = pytest.mark.usefixtures("postgres")


def test_the_service_is_killed_between_commit_and_publish(line: Line) -> None:
    tenant = line.new_tenant()
    epoch = line.published.redis.get(EPOCH)
    with line.service_proxy.holding(run_of(WRITE), Way.UP) as wait_until_held:
        line.change(tenant)
        wait_until_held()
        line.service.kill()
        # What was on its way is lost.
        line.service_proxy.reset()
    for client in line.clients:
        assert line.shows(client, tenant, OLD)
    line.restart_service()
    line.recovers("service killed between commit and publish, from its restart", tenant)
    # As the change that it is, and not because something was found to be missing.
    assert line.published.redis.get(EPOCH) == epoch
    line.follows()


def test_the_service_is_killed_between_publish_and_mark(line: Line) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: line.readiness()["unpublished"] == 0, "everything is marked")
    with line.sql() as holder, line.sql() as sql:
        holder("BEGIN")
        with line.service_proxy.holding(run_of(WRITE), Way.UP) as wait_until_held:
            line.change(tenant)
            wait_until_held()
            # The publisher will wait for this lock when it marks what it has published.
            assert len(holder(UNPUBLISHED + " FOR UPDATE")) == 1
        line.wait_until_shown(tenant, NEW)
        waiting = (
            "SELECT FROM pg_stat_activity WHERE application_name = 'corspolicy publisher' AND wait_event_type = $1"
        )
        wait_until(lambda: sql(waiting, "Lock"), "the publisher waits for the lock")
        line.service.kill()
        # PostgreSQL would finish the statement of a client that is gone, were it not told so.
        sql.terminate()
        holder("ROLLBACK")
        assert len(sql(UNPUBLISHED)) == 1
    newest = line.newest_entry()
    line.restart_service()
    line.measure(
        "service killed between publish and mark, from its restart to nothing unpublished",
        lambda: line.readiness()["unpublished"] == 0,
    )
    assert line.newest_entry() == newest
    line.wait_until_shown(tenant, NEW)
    line.follows()


def test_the_service_is_killed_while_redis_is_silent(line: Line) -> None:
    tenant = line.new_tenant()
    with line.redis.paused():
        line.change(tenant)
        line.service.kill()
    # What the service had sent may still be read by Redis, or not.
    line.restart_service()
    line.recovers("service killed while Redis was silent, from its restart", tenant)
    line.follows()


def test_a_leader_that_wakes_after_another_has_led(line: Line) -> None:
    tenant = line.new_tenant()
    old = line.service
    with line.service_proxy.holding(run_of(WRITE), Way.UP) as wait_until_held:
        line.change(tenant)
        wait_until_held()
        # NEW is on its way from the old leader, which is stopped and loses the lead.
        old.signal(signal.SIGSTOP)
        line.service, line.api = line.start_service(line.redis.url)
        with line.sql() as sql:
            sql.terminate()
        line.recovers("leader asleep, from the loss of its lock", tenant)
        line.put(tenant, LAST)
        line.wait_until_shown(tenant, LAST)
    old.signal(signal.SIGCONT)
    wait_until(lambda: line.readiness(old)["publisher"] == "standing by", "the old leader knows that it is none")
    # Those that run would not take an old document anyway; one that starts now takes what it finds.
    (late,) = line.start_clients(line.redis.url)
    for _ in range(3):
        line.follows(*line.clients, late)
        for client in (*line.clients, late):
            assert line.shows(client, tenant, LAST)
    late.stop()
    old.stop()
    line.follows()


@pytest.mark.parametrize("step", ["beginning", "documents", "end"])
def test_a_leader_that_wakes_while_it_writes_everything_anew(line: Line, step: str) -> None:
    line.service.stop()
    line.restart_service()
    tenant, other = line.new_tenant(), line.new_tenant()
    old = line.service
    steps = {
        "beginning": run_of(BEGIN_EPOCH),
        "documents": tenant.encode(),
        "end": run_of(END_EPOCH),
    }
    with line.service_proxy.holding(steps[step], Way.UP) as wait_until_held:
        # That step is on its way from the old leader, which is stopped and loses the lead.
        line.published.redis.flushall()
        wait_until_held()
        old.signal(signal.SIGSTOP)
        line.service, line.api = line.start_service(line.redis.url)
        with line.sql() as sql:
            sql.terminate()
        fault = "leader asleep while it rewrites everything, from the loss of its lock to the new epoch"
        line.measure(fault, lambda: line.published.redis.get(EPOCH))
        line.api.delete_tenant(tenant)
        line.wait_until_shown(tenant, None)
        # written once more, Redis does not know that there ever was such a tenant: no revision refuses it.
        line.published.redis.flushall()
        wait_until(lambda: line.published.redis.get(EPOCH), "the new leader has rewritten everything")
        epoch = line.published.redis.get(EPOCH)
    old.signal(signal.SIGCONT)
    wait_until(lambda: line.readiness(old)["publisher"] == "standing by", "the old leader knows that it is none")
    assert line.published.redis.get(EPOCH) == epoch
    (late,) = line.start_clients(line.redis.url)
    line.follows(*line.clients, late)
    for client in (*line.clients, late):
        assert line.shows(client, tenant, None)
        assert line.shows(client, other, OLD)
    late.stop()
    old.stop()
    line.follows()


def test_every_connection_to_postgres_is_ended(line: Line) -> None:
    tenant = line.new_tenant()
    with line.sql() as sql:
        sql.terminate("true")
    line.change(tenant)
    line.recovers("every connection to PostgreSQL ended", tenant)
    line.follows()


def test_a_change_that_the_publisher_cannot_read(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    with line.sql() as sql:
        (row,) = sql(
            "INSERT INTO changes (revision, tenant, actor, action, after)"
            " VALUES (nextval('revisions'), $1, 'test', 'policy.put', '{\"policies\": 5}') RETURNING revision",
            tenant,
        )
        try:
            line.change(other)
            line.recovers("another tenant's change is unreadable in the database", other, keeping=tenant)
            line.change(tenant)
            line.recovers("the tenant's last change is unreadable in the database", tenant)
        finally:
            sql("DELETE FROM changes WHERE revision = $1", row[0])
    line.follows()


def test_postgres_is_restarted(line: Line, postgres: Postgres) -> None:
    tenant = line.new_tenant()
    postgres.stop()
    try:
        wait_until(lambda: not line.readiness()["ready"], "the service is not ready")
        answer = line.api.put_policy(tenant, {"allow_origins": [NEW]})
        assert answer.status_code == 503
        for client in line.clients:
            assert line.shows(client, tenant, OLD)
    finally:
        postgres.start()
    begin = time.monotonic()
    line.change(tenant)
    line.recovers("PostgreSQL restarted", tenant, since=begin)
    line.follows()


def test_a_client_that_sleeps_through_a_change(line: Line) -> None:
    tenant = line.new_tenant()
    line.far.signal(signal.SIGSTOP)
    try:
        line.change(tenant)
        line.wait_until_shown(tenant, NEW, line.near)
    finally:
        line.far.signal(signal.SIGCONT)
    line.recovers("client process paused", tenant)


def test_a_client_that_starts_without_redis_grants_nothing_until_it_is_there(line: Line) -> None:
    tenant = line.new_tenant()
    line.proxy.cut()
    (client,) = line.start_clients(line.proxy.url)
    assert not line.granted(client, tenant, OLD)
    assert line.shows(line.far, tenant, OLD)
    line.proxy.heal()
    line.recovers("client started without Redis, from its return", tenant, OLD, client)
    client.stop()


def test_when_everything_else_is_down_clients_go_on(line: Line, postgres: Postgres) -> None:
    tenant, ending = line.new_tenant(), line.new_tenant()
    begin = time.time()
    expires_at = datetime.datetime.fromtimestamp(begin + 4, datetime.UTC).isoformat()
    entry = {"pattern": NEW, "expires_at": expires_at}
    path = f"/v1/tenants/{ending}/policies/default/origins"
    assert line.api.http.post(path, json=entry).status_code == 201
    for client in line.clients:
        wait_until(lambda client=client: line.granted(client, ending, NEW), "NEW is allowed")  # type: ignore[misc]
    postgres.stop()
    # With the database alone gone, a client can start.
    (late,) = line.start_clients(line.redis.url)
    assert line.shows(late, tenant, OLD)
    line.service.kill()
    line.redis.kill()
    try:
        for client in (*line.clients, late):
            wait_until(lambda client=client: line.shows(client, ending, OLD), "what expires does so when cut off")  # type: ignore[misc]
            assert line.shows(client, tenant, OLD)
        assert time.time() >= begin + 4
    finally:
        late.stop()
        line.redis.start()
        postgres.start()
        line.restart_service()
    restarted_at = time.monotonic()
    line.change(tenant)
    line.recovers("everything else down, from its return", tenant, since=restarted_at)
    assert httpx.get(f"{line.service.url}/readyz").json()["ready"]
