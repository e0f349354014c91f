"""A connection dies, with or without a sign, in one direction or both."""

from __future__ import annotations

import time

import pytest

from corspolicy.sync.feed import SILENCE_SECONDS
from tests.faults.line import NEW, OLD, Line
from tests.faults.proxy import BOTH, Way
from tests.support import wait_until


@pytest.mark.parametrize(
    ("ways", "fault"),
    [
        (BOTH, "half-open line"),
        ({Way.UP}, "requests to Redis are lost"),
        ({Way.DOWN}, "answers of Redis are lost"),
    ],
)
def test_a_line_that_is_silent_for_new_connections_too(line: Line, ways: set[Way], fault: str) -> None:
    early, late, other = line.new_tenant(), line.new_tenant(), line.new_tenant()
    accepted = line.proxy.accepted
    line.proxy.silence(*ways)
    try:
        line.change(early)
        wait_until(lambda: line.proxy.accepted > accepted, "the client takes silence for a dead connection")
        line.change(late)
        line.wait_until_shown(late, NEW, line.near)
        assert line.shows(line.far, late, OLD)
    finally:
        line.proxy.heal()
    # The client's second connection is dead as well, whatever stage it is in, and stays so.
    line.recovers(f"{fault}, new connections too", late, keeping=other, within=SILENCE_SECONDS + 3.0)
    line.wait_until_shown(early, NEW)
    line.follows()


def test_a_half_open_connection_is_found_although_nothing_says_so(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.proxy.silence(*BOTH, new=False)
    line.change(tenant)
    line.recovers("half-open connection, from its beginning", tenant, keeping=other, within=SILENCE_SECONDS + 2.0)
    line.follows()


def test_a_line_that_is_cut_and_refused_for_a_while(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.proxy.cut()
    try:
        line.change(tenant)
        line.wait_until_shown(tenant, NEW, line.near)
        # The fault's duration: long enough for several attempts.
        time.sleep(2.0)
        assert line.shows(line.far, tenant, OLD)
    finally:
        line.proxy.heal()
    line.recovers("connection cut, refused for 2 s", tenant, keeping=other)
    line.follows()


def test_a_connection_that_is_reset_again_and_again_under_writes(line: Line) -> None:
    tenants = [line.new_tenant() for _ in range(5)]
    for tenant in tenants:
        line.change(tenant)
        accepted = line.proxy.accepted
        line.proxy.reset()
        wait_until(lambda accepted=accepted: line.proxy.accepted > accepted, "it tries again")  # type: ignore[misc]
        line.proxy.reset()
    for tenant in tenants:
        line.recovers("connection reset ten times under writes", tenant)
    line.follows()


def test_a_slow_line(line: Line) -> None:
    tenant = line.new_tenant()
    line.proxy.slow_down(0.3)
    try:
        line.change(tenant)
        line.recovers("line with 300 ms each way, from the change", tenant, within=5.0)
        line.proxy.reset()
        line.put(tenant, OLD)
        line.recovers("the same, with a reset", tenant, OLD)
    finally:
        line.proxy.heal()
    line.follows()


@pytest.mark.parametrize("ways", [BOTH, {Way.DOWN}])
def test_the_services_own_connection_is_half_open(line: Line, ways: set[Way]) -> None:
    tenant = line.new_tenant()
    line.service_proxy.silence(*ways, new=False)
    line.change(tenant)
    lost = "connection" if ways == BOTH else "connection, answers only"
    line.recovers(f"the service's half-open {lost}, from its beginning", tenant, within=5.0 + 4.0)
    line.follows()


def test_the_services_own_connection_is_cut_and_refused_for_a_while(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    line.service_proxy.cut()
    try:
        line.change(tenant)
        wait_until(lambda: "Error" in line.readiness()["publisher"], "the publisher is refused")
        for client in line.clients:
            assert line.shows(client, tenant, OLD)
    finally:
        line.service_proxy.heal()
    line.recovers("the service's connection cut and refused", tenant, keeping=other)
    line.follows()
