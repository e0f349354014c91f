"""Adding and removing one origin of a policy that has very many: in the API, and in a client that follows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import asyncpg
import redis

from corspolicy.sync.wire import Envelope
from tests.benchmarks.client_process import ClientProcess, started
from tests.benchmarks.clients import ORIGIN
from tests.benchmarks.deployment import Deployment, deployment, insert_bare, write_bare
from tests.benchmarks.results import Result, at_most
from tests.keys import DOCUMENTS

STALL_MS = 10


class _Size(NamedTuple):
    origins: int
    rounds: int
    api_ms: float
    """The most that a change may take in the API."""
    client_ms: float | None


SIZES = (_Size(10_000, 5, 40, 20), _Size(50_000, 3, 200, None))


async def _bare(at: Deployment, tenant: str, rounds: int) -> list[float]:
    """The same transaction with the same document, in ms."""
    source, bare = await asyncpg.connect(at.database_url), await asyncpg.connect(at.bare_database_url)
    document = await source.fetchval("SELECT document::text FROM tenants WHERE slug = $1", tenant)
    await insert_bare(bare, tenant, document)
    taken = []
    for _ in range(2 * rounds):
        begin = time.monotonic()
        await write_bare(bare, tenant, document)
        taken.append((time.monotonic() - begin) * 1000)
    await source.close()
    await bare.close()
    return taken


def _json(at: Deployment, tenant: str, rounds: int) -> list[float]:
    """What it takes to parse the published document, and no more, in ms."""
    with redis.Redis.from_url(at.redis_url) as client:
        envelope = client.hget(DOCUMENTS, tenant)
    assert isinstance(envelope, bytes)
    payload = Envelope.from_bytes(envelope).payload or b""
    taken = []
    for _ in range(rounds):
        begin = time.monotonic()
        json.loads(payload)
        taken.append((time.monotonic() - begin) * 1000)
    return taken


def _measure(at: Deployment, size: _Size) -> Iterator[Result]:
    tenant = at.api.new_tenant()
    origins = [f"https://listed{number}.example.com" for number in range(size.origins)]
    answer = at.api.put_policy(tenant, {"allow_origins": origins})
    assert answer.status_code in (200, 201), answer.text[:500]
    figures: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        follower = started(stack, 1, "follow_one", at.redis_url, tenant)[0]
        for _ in range(size.rounds):
            begin = time.monotonic()
            entry = at.api.allow(tenant, ORIGIN)
            _note(figures, "adding", begin, follower)
            begin = time.monotonic()
            at.api.remove(tenant, entry["id"])
            _note(figures, "removing", begin, follower)
        bare, parsed = asyncio.run(_bare(at, tenant, size.rounds)), _json(at, tenant, size.rounds)
    of = f"one of {size.origins:,} origins"
    for action in ("adding", "removing"):
        yield Result(f"{action} {of}, API", "ms", figures[action], "bare asyncpg", bare, at_most(size.api_ms))
    limit = None if size.client_ms is None else at_most(size.client_ms)
    yield Result(f"{of} changed, client's processor", "ms", figures["cpu"], "json.loads", parsed, limit)
    yield Result(f"{of} changed, client's longest stall", "ms", figures["stall"], target=at_most(STALL_MS))
    yield Result(f"{of} changed, from the request to the client", "ms", figures["delay"])


def _note(figures: dict[str, list[float]], action: str, begin: float, follower: ClientProcess) -> None:
    answered = time.monotonic()
    applied, cpu, stall = follower.values()
    figures[action].append((answered - begin) * 1000)
    figures["delay"].append((applied - begin) * 1000)
    figures["cpu"].append(cpu)
    figures["stall"].append(stall)


def run() -> Iterator[Result]:
    """For each size, what a change takes in the API and in a client."""
    with deployment() as at:
        for size in SIZES:
            yield from _measure(at, size)
