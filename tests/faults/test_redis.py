"""Redis dies, comes back with less than it had, or is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_service.publisher.scripts import END_EPOCH
from tests.faults.line import NEW, OLD, Line, run_of
from tests.faults.proxy import Way
from tests.keys import DOCUMENTS, EPOCH
from tests.redises import Server
from tests.support import wait_until


def test_redis_is_killed_and_back_with_its_data(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.redis.kill()
    line.change(tenant)
    for client in line.clients:
        assert line.shows(client, tenant, OLD)
    line.redis.start()
    line.recovers("Redis killed, back with its data", tenant, keeping=other)
    line.follows()


def test_redis_is_killed_and_back_empty(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.redis.kill()
    line.change(tenant)
    for client in line.clients:
        assert line.shows(client, tenant, OLD)
    line.redis.start(empty=True)
    line.recovers("Redis killed, back empty", tenant, keeping=other)
    line.follows()


def test_redis_is_emptied(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.published.redis.flushall()
    line.change(tenant)
    line.recovers("FLUSHALL, for those that run", tenant, keeping=other)
    line.follows()


def test_a_client_that_starts_after_redis_was_emptied_gets_everything(line: Line) -> None:
    tenant = line.new_tenant()
    line.published.redis.flushall()
    emptied_at = time.monotonic()
    (client,) = line.start_clients(line.redis.url)
    line.recovers("FLUSHALL, for one that starts after it", tenant, OLD, client, since=emptied_at)
    client.stop()


def test_redis_is_emptied_again_before_everything_is_written_anew(line: Line) -> None:
    tenant = line.new_tenant()
    # All documents are written, and the epoch that makes them a snapshot is on its way.
    with line.service_proxy.holding(run_of(END_EPOCH), Way.UP) as wait_until_held:
        line.published.redis.flushall()
        wait_until_held()
        line.published.redis.flushall()
    emptied_at = time.monotonic()
    wait_until(lambda: line.published.redis.get(EPOCH), "an epoch")
    assert line.published.redis.hexists(DOCUMENTS, tenant)
    (client,) = line.start_clients(line.redis.url)
    fault = "FLUSHALL while everything is written again, for one that starts after it"
    line.recovers(fault, tenant, OLD, client, since=emptied_at)
    client.stop()
    line.follows()
    line.wait_until_shown(tenant, OLD)


def test_redis_is_emptied_under_steady_writes(line: Line) -> None:
    tenant, busy = line.new_tenant(), line.new_tenant()
    with writing(line, busy):
        line.published.redis.flushall()
        emptied_at = time.monotonic()
        (client,) = line.start_clients(line.redis.url)
        fault = "FLUSHALL under steady writes, for one that starts after it"
        line.recovers(fault, tenant, OLD, client, since=emptied_at, within=5.0)
    client.stop()
    line.follows()


@contextmanager
def writing(line: Line, tenant: str) -> Iterator[None]:
    """A change of `tenant` every tenth of a second, and nobody waits for them."""
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.wait(0.1):
            number += 1
            line.put(tenant, f"https://{number}.example.com")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    ],
    ids=["read-only", "out of memory"],
)
def test_redis_refuses_writes_for_a_while(line: Line, begin: str, end: str) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    redis: Any = line.published.redis
    redis.execute_command(*begin.split())
    try:
        line.change(tenant)
        wait_until(lambda: "Error" in line.readiness()["publisher"], "the publisher is refused")
        for client in line.clients:
            assert line.shows(client, tenant, OLD)
    finally:
        redis.execute_command(*end.split())
    line.recovers(f"Redis refuses writes until {end}", tenant, keeping=other)
    line.follows()


@pytest.mark.parametrize("is_service_there", [True, False], ids=["service runs", "service stopped"])
def test_redis_is_overwritten_with_an_older_copy_of_itself(
    line: Line, tmp_path: Path, *, is_service_there: bool
) -> None:
    tenant = line.new_tenant()
    redis: Any = line.published.redis
    with Server(tmp_path / "copy", f"replicaof 127.0.0.1 {line.redis.port}") as copy:
        wait_until(lambda: copy.client.hexists(DOCUMENTS, tenant), "the copy is complete")
        copy.client.execute_command("REPLICAOF NO ONE")
        line.change(tenant)
        line.wait_until_shown(tenant, NEW)
        if not is_service_there:
            wait_until(lambda: line.readiness()["unpublished"] == 0, "everything is marked")
            line.service.stop()
        redis.execute_command(f"REPLICAOF 127.0.0.1 {copy.port}")
        wait_until(lambda: redis.info("replication")["master_link_status"] == "up", "the copy is taken over")
        redis.execute_command("REPLICAOF NO ONE")
    overwritten_at = time.monotonic()
    if not is_service_there:
        line.restart_service()
    (client,) = line.start_clients(line.redis.url)
    line.recovers("an older copy in Redis, for one that starts then", tenant, NEW, client, since=overwritten_at)
    client.stop()
    line.follows()


def test_a_client_that_may_only_read_follows(line: Line) -> None:
    tenant = line.new_tenant()
    redis: Any = line.published.redis
    # As on a replica, too.
    redis.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", "+@all", "-@write")
    (client,) = line.start_clients(line.redis.url.replace("//", "//reader:secret@"))
    line.wait_until_shown(tenant, OLD, client)
    line.change(tenant)
    line.recovers("client may only read, from the change", tenant, NEW, client)
    line.follows(client)
    assert line.api.http.get("/v1/fleet").json()["not_reporting"] == 1
    client.stop()
    assert line.api.http.get("/v1/fleet").json()["not_reporting"] == 0


def test_redis_is_silent_for_longer_than_any_time_out(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    with line.redis.paused():
        line.change(tenant)
        # The fault's duration, not a wait for something.
        time.sleep(6.0)
        for client in line.clients:
            assert line.shows(client, tenant, OLD)
    line.recovers("Redis silent for 6 s", tenant, NEW, keeping=other)
    line.follows()
