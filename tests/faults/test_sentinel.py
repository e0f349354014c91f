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

TENANTS = 30


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
            time.sleep(0.02)

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


def test_a_master_and_a_sentinel_that_were_asleep_wake_and_know_of_no_successor(
    line: Services, watched: Watched
) -> None:
    tenants, late = [line.new_tenant() for _ in range(TENANTS)], line.new_tenant()
    asleep = [watched.sentinels[0], watched.master]
    with changing(line, tenants):
        for server in asleep:
            server.signal(signal.SIGSTOP)
    watched.wait_until_replaced()
    replaced_at = time.monotonic()
    for tenant in tenants:
        line.recovers("master asleep, from its replacement", tenant, since=replaced_at)
    for server in asleep:
        server.signal(signal.SIGCONT)
    line.change(late)
    (new,) = line.start_clients(watched.url)
    line.wait_until_shown(late, NEW, *line.clients, new)
    # For some ten seconds it takes itself for the master, with what it held when it fell asleep.
    assert watched.master.client.role()[0] == b"master"

    def is_demoted() -> bool:
        for tenant in (tenants[-1], late):
            for client in (*line.clients, new):
                assert line.shows(client, tenant, NEW)
        return bool(watched.master.client.role()[0] == b"slave")

    wait_until(is_demoted, "the Sentinels make it a replica")
    line.follows(*line.clients, new)
