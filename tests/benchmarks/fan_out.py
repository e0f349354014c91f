"""Changes under load: to very many feeds, and many a second. From the commit to the policy that a feed applies.

Changes are committed as a write commits them, in bare asyncpg, so that the API's own cost does not set the pace.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import asyncpg

from tests.benchmarks.client_process import started
from tests.benchmarks.deployment import ORIGINS, Deployment, deployment, write_bare
from tests.benchmarks.results import Result, at_least, at_most

TENANTS = 20


class _Load(NamedTuple):
    processes: int
    feeds: int
    """In each process."""
    changes: float
    """A second."""
    p99_ms: float

    @property
    def name(self) -> str:
        return f"{self.processes * self.feeds} feeds, {self.changes:g} changes/s"


LOADS = (_Load(4, 50, 5, 100), _Load(10, 1, 200, 250))


def _tenant(number: int) -> str:
    return f"fan-{number % TENANTS}"


def _origin(number: int) -> str:
    return f"https://change{number}.example.com"


async def _commit(at: Deployment, load: _Load, seconds: float) -> list[tuple[int, float]]:
    """Make changes at an even pace; the revision of each, and when it was committed."""
    committed = []
    connection = await asyncpg.connect(at.database_url)
    stored = await connection.fetchval("SELECT document::text FROM tenants WHERE slug = $1", _tenant(0))
    begin = time.monotonic()
    for number in range(max(TENANTS, int(load.changes * seconds))):
        # One after the other, so that revisions are committed in their order.
        await asyncio.sleep(begin + number / load.changes - time.monotonic())
        document = stored.replace(ORIGINS[0], _origin(number))
        revision = await write_bare(connection, _tenant(number), document)
        committed.append((revision, time.monotonic()))
    await connection.close()
    return committed


def _delays(committed: list[tuple[int, float]], seen: list[tuple[int, float]]) -> Iterator[float]:
    """From each commit to when the feed had that revision or a later one, in ms."""
    revisions = [revision for revision, _ in seen]
    for revision, at in committed:
        yield max(0.0, seen[bisect_left(revisions, revision)][1] - at) * 1000


def _measure(at: Deployment, load: _Load, seconds: float) -> Iterator[Result]:
    with ExitStack() as stack:
        clients = started(stack, load.processes, "follow_with_many", at.redis_url, str(load.feeds))
        committed = asyncio.run(_commit(at, load, seconds))
        last = len(committed) - 1
        allowed = {_tenant(number): _origin(number) for number in range(last - TENANTS + 1, last + 1)}
        for client in clients:
            client.tell([committed[-1][0], allowed])
        reports = [client.values() for client in clients]
    seen = [feed for feeds, _ in reports for feed in feeds]
    wrong = sum(wrong for _, wrong in reports)
    delays = [delay for feed in seen for delay in _delays(committed, feed)]
    name = f"{load.name}, {seconds:g} s"
    pace = last / (committed[-1][1] - committed[0][1])
    yield Result(f"{name}, changes made", "/s", [pace], target=at_least(0.95 * load.changes))
    yield Result(f"{name}, median", "ms", [statistics.median(delays)])
    yield Result(f"{name}, p99", "ms", [statistics.quantiles(delays, n=100)[98]], target=at_most(load.p99_ms))
    yield Result(f"{name}, lost", "", [wrong], target=at_most(0))


def run(seconds: float = 10.0) -> Iterator[Result]:
    """For each load, how long a change takes to a feed, and what was lost."""
    with deployment() as at:
        for number in range(TENANTS):
            assert at.api.http.post("/v1/tenants", json={"tenant": _tenant(number)}).status_code == 201
        for load in LOADS:
            for number in range(TENANTS):
                assert at.api.put_policy(_tenant(number), {"allow_origins": ORIGINS}).status_code in (200, 201)
            yield from _measure(at, load, seconds)
