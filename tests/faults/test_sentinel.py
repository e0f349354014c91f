"""The master dies or falls asleep, and Sentinels put its replica in its place."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.line import NEW, Services
from tests.redises import Watched
from tests.support import wait_until

TENANTS = 12


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(stack, tmp_path)


@pytest.fixture
def line(new_database: Callable[[], str], watched: Watched) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(stack, new_database(), watched.url, watched.url, watched.url)


@contextmanager
def changing(line: Services, tenants: list[str]) -> Iterator[None]:
    """Change one tenant after the other; the block is entered in the middle of that."""
    is_halfway = threading.Event()

    def change() -> None:
        for number, tenant in enumerate(tenants):
            line.change(tenant)
            if number == len(tenants) // 2:
                is_halfway.set()
            time.sleep(0.05)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert is_halfway.wait(20)
        yield
    finally:
        thread.join()


def test_the_master_is_killed_in_the_middle_of_writes(line: Services, watched: Watched) -> None:
    tenants, other = [line.new_tenant() for _ in range(TENANTS)], line.new_tenant()
    with changing(line, tenants):
        watched.master.kill()
    watched.wait_until_replaced()
    replaced_at = time.monotonic()
    for tenant in tenants:
        line.recovers("master killed, from its replacement", tenant, keeping=other, since=replaced_at)
    line.follows()


def test_a_master_wakes_that_does_not_know_of_its_successor(line: Services, watched: Watched) -> None:
    tenants, late = [line.new_tenant() for _ in range(TENANTS)], line.new_tenant()
    leader = line.service
    line.restart_service()
    with changing(line, tenants):
        watched.master.signal(signal.SIGSTOP)
    watched.wait_until_replaced()
    replaced_at = time.monotonic()
    # Nobody may have taken its silence for a dead connection yet. Another service publishes, to the successor.
    leader.kill()
    watched.master.signal(signal.SIGCONT)
    for tenant in tenants:
        line.recovers("master asleep, and awake when it is replaced", tenant, since=replaced_at)
    assert watched.master.client.role()[0] == b"master", "this says nothing: it has learned of its successor"
    line.change(late)
    (new,) = line.start_clients(watched.url)
    line.wait_until_shown(late, NEW, *line.clients, new)

    def is_demoted() -> bool:
        for client in (*line.clients, new):
            assert line.shows(client, tenants[-1], NEW)
            assert line.shows(client, late, NEW)
        return bool(watched.master.client.role()[0] == b"slave")

    wait_until(is_demoted, "the Sentinels make it a replica")
    line.follows(*line.clients, new)
