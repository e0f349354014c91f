"""From a write's response to the changed header in ten processes, beside a bare XADD-to-XREAD in the same processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

import redis

from tests.benchmarks.client_process import ClientProcess, started
from tests.benchmarks.clients import BARE_STREAM, ORIGIN
from tests.benchmarks.deployment import deployment
from tests.benchmarks.results import Result, times_at_most

PROCESSES = 10
ROUNDS = 100
MOST = times_at_most(2.0)


def run() -> Iterator[Result]:
    """How long until one process has a change, and until the last one has."""
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    with ExitStack() as stack:
        at = stack.enter_context(deployment())
        api, tenant = at.api, at.api.new_tenant()
        client = stack.enter_context(redis.Redis.from_url(at.redis_url))
        client.ping()
        clients = started(stack, PROCESSES, "watch_header", at.redis_url, tenant)
        for _ in range(ROUNDS):
            entry = api.allow(tenant, ORIGIN)
            ours.append(_delays(clients, "ours", time.monotonic_ns()))
            api.remove(tenant, entry["id"])
            ours.append(_delays(clients, "ours", time.monotonic_ns()))
            for _ in range(2):
                added = time.monotonic_ns()
                client.xadd(BARE_STREAM, {"x": "1"})
                bare.append(_delays(clients, "bare", added))
    name, peer = f"change to {PROCESSES} processes", "bare XADD to XREAD"
    yield Result(f"{name}, each", "ms", list(chain(*ours)), peer, list(chain(*bare)), MOST)
    yield Result(f"{name}, the last", "ms", list(map(max, ours)), peer, list(map(max, bare)), MOST)


def _delays(clients: list[ClientProcess], kind: str, since: int) -> list[float]:
    """How long it took until each process tells of something of this kind, in ms."""
    delays = []
    for client in clients:
        name, _, instant = client.line().partition(" ")
        assert name == kind, name
        delays.append((int(instant) - since) / 1e6)
    return delays
