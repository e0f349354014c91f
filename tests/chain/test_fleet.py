"""What the service knows of the processes that apply policies."""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.chain.line import ORIGIN, Line
from tests.client.published import Published
from tests.keys import CHANGES, PROCESS_PREFIX, PROCESSES
from tests.support import wait_until


def _states(line: Line) -> dict[str, str]:
    return {process["services"][0]: process["state"] for process in _processes(line)}


def _processes(line: Line) -> list[dict[str, Any]]:
    answer = line.api.http.get("/v1/fleet")
    assert answer.status_code == 200, answer.text
    processes: list[dict[str, Any]] = answer.json()["processes"]
    return processes


def test_every_process_is_listed_with_what_it_has_applied(line: Line) -> None:
    tenant = line.api.new_tenant()
    entry = line.api.allow(tenant, ORIGIN)
    line.wait_until_allowed(tenant)
    wait_until(lambda: _states(line) == {"billing": "current", "orders": "current"}, "all are current")
    billing, orders = _processes(line)
    assert billing["services"] == ["billing"]
    assert orders["services"] == ["orders"]
    for process in (billing, orders):
        assert process["revision"] == entry["revision"]
        assert (process["lag"], process["ready"], process["rejections"]) == (0, True, {})
    assert billing["id"] != orders["id"]


def test_a_process_that_stands_still_is_behind_until_it_goes_on(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.wait_until_denied(tenant)
    wait_until(lambda: set(_states(line).values()) == {"current"}, "all are current")
    orders = line.clients[1]
    orders.signal(signal.SIGSTOP)
    try:
        line.api.allow(tenant, ORIGIN)
        wait_until(lambda: _states(line) == {"billing": "current", "orders": "behind"}, "one is behind")
        assert [process["lag"] > 0 for process in _processes(line)] == [False, True]
    finally:
        orders.signal(signal.SIGCONT)
    wait_until(lambda: set(_states(line).values()) == {"current"}, "all are current again")


def test_a_process_that_holds_something_else_has_diverged_and_says_what_it_could_not_read(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.wait_until_denied(tenant)
    published = Published(line.environment["CORSPOLICY_REDIS_URL"])
    published.announce(tenant=tenant, envelope=published.envelope(tenant, 10**9, ORIGIN))
    wait_until(lambda: set(_states(line).values()) == {"diverged"}, "a document that was never committed is seen")
    published.announce(tenant="unreadable", envelope=b"7 {")
    wait_until(lambda: all("unreadable" in process["rejections"] for process in _processes(line)), "it is reported")
    published.redis.delete("{corspolicy}:epoch")
    wait_until(lambda: set(_states(line).values()) == {"current"}, "the publisher writes everything anew")
    assert not line.may_read(line.clients[0], tenant)


def test_a_stream_that_was_cut_off_leaves_nobody_behind(line: Line) -> None:
    line.wait_until_denied(line.api.new_tenant())
    Published(line.environment["CORSPOLICY_REDIS_URL"]).redis.xtrim(CHANGES, maxlen=0, approximate=False)
    wait_until(lambda: set(_states(line).values()) == {"current"}, "all are current")


def test_a_report_of_another_version_hides_no_other(line: Line) -> None:
    redis = Published(line.environment["CORSPOLICY_REDIS_URL"]).redis
    for name, report in (("a", b"{"), ("b", b"[]"), ("c", b'{"id": "c"}')):
        redis.set(PROCESS_PREFIX + name, report, ex=15)
        redis.zadd(PROCESSES, {name: 1e10})
    assert len(_processes(line)) == 2


def test_without_redis_the_answer_says_so(line: Line) -> None:
    redis = line.redis_process()
    os.kill(redis, signal.SIGSTOP)
    try:
        answer = line.api.http.get("/v1/fleet")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:corspolicy:problem:redis-unavailable")
    finally:
        os.kill(redis, signal.SIGCONT)
