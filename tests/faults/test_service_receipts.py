"""A receipt is a promise: `complete` is never said while a process that nobody knows of applies something else."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from corspolicy.sync.wire import REPORT_TTL_SECONDS, Keys
from tests.faults.line import NEW, OLD, Line
from tests.support import wait_until

KEYS = Keys()
WAIT_SECONDS = 2


def _change(line: Line, tenant: str) -> dict[str, Any]:
    """Remove OLD, allow NEW, and wait for the receipt."""
    answer = line.api.http.put(
        f"/v1/tenants/{tenant}/policies/default",
        json={"allow_origins": [NEW]},
        headers={"If-Match": "*", "Prefer": f"wait={WAIT_SECONDS}"},
        params={"confirm": "true"},
    )
    assert answer.status_code == 200, answer.text
    propagation: dict[str, Any] = answer.json()["propagation"]
    return propagation


def _is_complete(line: Line, revision: int) -> bool:
    answer = line.api.http.get(f"/v1/revisions/{revision}/propagation", params={"wait": WAIT_SECONDS})
    return bool(answer.status_code == 200 and answer.json()["complete"])


def _all_are_known(line: Line) -> bool:
    answer = line.api.http.get("/v1/fleet")
    return bool(answer.status_code == 200 and answer.json()["all_known"] and len(answer.json()["processes"]) == 2)


def _flush(line: Line) -> None:
    line.published.redis.flushall()


def _come_back_empty(line: Line) -> None:
    line.redis.kill()
    line.redis.start(empty=True)


def _stay_away(line: Line) -> None:
    """No service was there to see it."""
    line.service.kill()
    line.redis.kill()
    # The fault's duration: longer than a report lives.
    time.sleep(REPORT_TTL_SECONDS + 3)
    line.redis.start()
    line.restart_service()


def _lose_the_register(line: Line) -> None:
    line.published.redis.delete(KEYS.processes)


def _lose_a_report(line: Line) -> None:
    names: Any = line.published.redis.zrange(KEYS.processes, 0, -1)
    line.published.redis.delete(*(KEYS.report(name.decode()) for name in names))


def _refuse_writes(line: Line) -> None:
    redis: Any = line.published.redis
    redis.config_set("maxmemory", 1)
    time.sleep(REPORT_TTL_SECONDS + 3)
    redis.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    "lose", [_flush, _come_back_empty, _stay_away, _lose_the_register, _lose_a_report, _refuse_writes]
)
def test_no_receipt_is_given_on_the_absence_of_a_report(line: Line, lose: Callable[[Line], None]) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: _all_are_known(line), "all processes are known", 30)
    # It goes on with what it holds, and can't report.
    line.proxy.cut()
    lose(line)
    wait_until(lambda: line.readiness()["publisher"] == "leading", "the publisher leads")
    propagation = _change(line, tenant)
    assert line.shows(line.far, tenant, OLD)
    assert not propagation["complete"]
    line.proxy.heal()
    line.measure(
        f"reports: {lose.__name__.strip('_')}, until receipts are given",
        lambda: _is_complete(line, propagation["revision"]),
        40,
    )
    for client in line.clients:
        assert line.shows(client, tenant, NEW)


def test_a_process_that_stopped_in_order_is_not_waited_for(line: Line) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: _all_are_known(line), "all processes are known", 30)
    (client,) = line.start_clients(line.redis.url)
    wait_until(lambda: len(line.api.http.get("/v1/fleet").json()["processes"]) == 3, "it is known")
    client.stop()
    assert _change(line, tenant)["complete"]


def test_a_process_that_crashed_is_waited_for_until_it_counts_as_ended(line: Line) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: _all_are_known(line), "all processes are known", 30)
    (client,) = line.start_clients(line.redis.url)
    wait_until(lambda: len(line.api.http.get("/v1/fleet").json()["processes"]) == 3, "it is known")
    client.kill()
    propagation = _change(line, tenant)
    assert (propagation["complete"], propagation["pending"]["count"]) == (False, 1)
    wait_until(lambda: _is_complete(line, propagation["revision"]), "the receipt", REPORT_TTL_SECONDS + 5)


@pytest.mark.parametrize("where", ["stream", "documents"])
def test_a_forged_revision_is_not_taken_for_a_change_that_is_applied(line: Line, where: str) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: _all_are_known(line), "all processes are known", 30)
    forged = line.published.envelope(tenant, 10**9, OLD)
    if where == "stream":
        line.published.announce(tenant=tenant, envelope=forged)
    else:
        line.published.store(tenant, forged)
    line.follows()
    propagation = _change(line, tenant)
    if propagation["complete"]:
        for client in line.clients:
            assert line.shows(client, tenant, NEW)
    wait_until(lambda: _is_complete(line, propagation["revision"]), "the receipt", 40)
    for client in line.clients:
        assert line.shows(client, tenant, NEW)
    line.follows()


def test_a_frozen_process_is_waited_for(line: Line) -> None:
    tenant = line.new_tenant()
    wait_until(lambda: _all_are_known(line), "all processes are known", 30)
    line.far.signal(signal.SIGSTOP)
    try:
        _flush(line)
        propagation = _change(line, tenant)
        assert not propagation["complete"]
    finally:
        line.far.signal(signal.SIGCONT)
    line.recovers("client paused while reports are lost, from when it wakes", tenant, NEW)
    wait_until(lambda: _is_complete(line, propagation["revision"]), "the receipt", 40)
    for client in line.clients:
        assert line.shows(client, tenant, NEW)
