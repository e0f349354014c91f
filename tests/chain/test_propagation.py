"""Which processes apply a change: real ones, that are stopped, refuse a document, or are many."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import redis

from tests.chain.line import ORIGIN, Line
from tests.service.helpers import execute, rows
from tests.support import Process, free_port, wait_until

MANY = 20


def _allow(line: Line, tenant: str, wait: int) -> dict[str, Any]:
    """Admit an origin and wait; what is said of the processes."""
    answer = line.api.http.post(
        f"/v1/tenants/{tenant}/policies/default/origins",
        json={"pattern": ORIGIN},
        headers={"Prefer": f"wait={wait}"},
        timeout=wait + 30,
    )
    assert (answer.status_code, answer.headers.get("preference-applied")) == (201, f"wait={wait}")
    propagation: dict[str, Any] = answer.json()["propagation"]
    return propagation


def _propagation(line: Line, revision: int, wait: int = 20) -> dict[str, Any]:
    answer = line.api.http.get(f"/v1/revisions/{revision}/propagation", params={"wait": wait}, timeout=wait + 30)
    assert answer.status_code == 200, answer.text
    propagation: dict[str, Any] = answer.json()
    return propagation


def _processes(group: dict[str, Any]) -> set[int]:
    assert group["count"] == len(group["processes"])
    return {process["process"] for process in group["processes"]}


def test_what_is_called_complete_is_applied_at_once_by_every_process(line: Line) -> None:
    tenant = line.api.new_tenant()
    allowed = _allow(line, tenant, 20)
    assert allowed["complete"]
    assert 0 < allowed["milliseconds"] < 20_000
    assert {each["services"][0] for each in allowed["applied"]["processes"]} == {"billing", "orders"}
    for client in line.clients:
        assert line.may_read(client, tenant)
    entry = line.api.http.get(f"/v1/tenants/{tenant}/policies/default/origins").json()["items"][0]["id"]
    path = f"/v1/tenants/{tenant}/policies/default/origins/{entry}"
    removed = line.api.http.delete(path, headers={"Prefer": "wait=20"}, params={"confirm": "true"}).json()
    assert removed["propagation"]["complete"]
    for client in line.clients:
        assert not line.may_read(client, tenant)


def test_a_process_that_refuses_the_document_is_named_with_the_reason(line: Line) -> None:
    tenant = line.api.new_tenant()
    # As a defect would leave it: no client can read what is published of this.
    database = line.environment["CORSPOLICY_DATABASE_URL"]
    execute(
        database,
        f"""WITH made AS (
                INSERT INTO changes (revision, tenant, actor, action, after)
                VALUES (nextval('revisions'), '{tenant}', 'test', 'test', '{{"policies": 5}}') RETURNING revision
            )
            UPDATE tenants SET revision = made.revision FROM made WHERE slug = '{tenant}'""",
    )
    ((unreadable,),) = rows(database, f"SELECT revision FROM changes WHERE tenant = '{tenant}' AND actor = 'test'")
    # What wakes the publisher.
    line.api.new_tenant()
    propagation = _propagation(line, unreadable, wait=60)
    assert (propagation["complete"], propagation["pending"]["count"]) == (False, 0)
    assert propagation["rejected"]["count"] == 2
    for process in propagation["rejected"]["processes"]:
        assert f"revision {unreadable}: not a document of format" in process["why"]


def test_many_who_wait_look_together(line: Line) -> None:
    revision = line.api.allow(line.api.new_tenant(), ORIGIN)["revision"]
    assert _propagation(line, revision)["complete"]
    stopped = line.clients[0]
    stopped.signal(signal.SIGSTOP)
    try:
        revision = line.api.allow(line.api.new_tenant(), ORIGIN)["revision"]
        with (
            redis.Redis.from_url(line.environment["CORSPOLICY_REDIS_URL"]) as client,
            ThreadPoolExecutor(30) as threads,
        ):
            client.config_resetstat()
            began = time.monotonic()
            answers = list(threads.map(lambda _: _propagation(line, revision, wait=2), range(30)))
            took = time.monotonic() - began
            looks = client.info("commandstats")["cmdstat_zrevrange"]["calls"]
        assert [answer["pending"]["count"] for answer in answers] == [1] * 30
        # One every 50 ms at most, whoever waits.
        assert 2 <= looks <= took / 0.05 + 2
    finally:
        stopped.signal(signal.SIGCONT)
    assert _propagation(line, revision)["complete"]


def test_without_redis_a_change_is_made_and_its_propagation_is_not_known(line: Line) -> None:
    tenant = line.api.new_tenant()
    pid = line.redis_process()
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = line.api.http.post(
            f"/v1/tenants/{tenant}/policies/default/origins",
            json={"pattern": ORIGIN},
            headers={"Prefer": "wait=1"},
            timeout=30,
        )
        assert answer.status_code == 201
        assert "preference-applied" not in answer.headers
        assert "propagation" not in answer.json()
        unknown = line.api.http.get(f"/v1/revisions/{answer.json()['revision']}/propagation", timeout=30)
        assert (unknown.status_code, unknown.json()["type"]) == (503, "urn:corspolicy:problem:unknown-propagation")
        assert unknown.headers["retry-after"]
    finally:
        os.kill(pid, signal.SIGCONT)
    revision = answer.json()["revision"]
    # A process that could not report meanwhile has time to do so.
    wait_until(lambda: _propagation(line, revision, wait=5)["complete"], "the receipt", 40)


def test_of_twenty_processes_the_one_that_is_stopped_is_named(line: Line) -> None:
    with ExitStack() as stack:
        clients = list(line.clients)
        # All at once: starting one after the other would take its time.
        for _ in range(MANY - len(clients)):
            client = Process("tests.chain.apps:billing", free_port(), line.environment)
            stack.callback(client.stop)
            clients.append(client)
        for client in clients:
            client.wait_until_answering()
        revision = line.api.allow(line.api.new_tenant(), ORIGIN)["revision"]
        wait_until(lambda: _propagation(line, revision)["applied"]["count"] == MANY, "all of them have reported", 60)
        stopped = clients[-1]
        stopped.signal(signal.SIGSTOP)
        began = time.time()
        propagation = _allow(line, line.api.new_tenant(), 5)
        assert not propagation["complete"]
        assert _processes(propagation["pending"]) == {stopped.pid}
        assert _processes(propagation["applied"]) == {client.pid for client in clients} - {stopped.pid}
        (silent,) = propagation["pending"]["processes"]
        assert silent["services"] == ["billing"]
        assert silent["host"] == os.uname().nodename
        assert datetime.fromisoformat(silent["reported_at"]).timestamp() <= began + 1
        stopped.signal(signal.SIGCONT)
        propagation = _propagation(line, propagation["revision"], wait=30)
        assert (propagation["complete"], propagation["applied"]["count"]) == (True, MANY)
        print(f"the last of {MANY} processes reported after {propagation['milliseconds']} ms")
