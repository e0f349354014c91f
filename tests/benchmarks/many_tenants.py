"""A client that holds very many tenants, beside a process that reads the same hash into a bare dict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import redis

from tests import servers
from tests.benchmarks.client_process import ClientProcess
from tests.benchmarks.clients import ORIGIN, tenant_name
from tests.benchmarks.results import Result, at_most, times_at_least, times_at_most
from tests.client.published import Published
from tests.keys import DOCUMENTS

TENANTS = 100_000
ROUNDS = 3
# Above it, one round: each takes long, and says much.
MANY = 200_000
BATCH = 1_000
STALL_MS = 20


def _fill(url: str, tenants: int) -> None:
    published = Published(url)
    for first in range(0, tenants, BATCH):
        fields: dict[Any, Any] = {
            tenant_name(number): published.envelope(tenant_name(number), number + 1, *_origins(number))
            for number in range(first, min(first + BATCH, tenants))
        }
        published.redis.hset(DOCUMENTS, mapping=fields)
    published.end_epoch("benchmark")
    published.redis.close()


def _origins(number: int) -> list[str]:
    return [ORIGIN, f"https://app.{tenant_name(number)}.example.com", f"https://*.{tenant_name(number)}.example.net"]


def run(tenants: int = TENANTS) -> Iterator[Result]:
    """Memory, speed of loading, and what stops the loop."""
    rounds: dict[str, dict[str, list[float]]] = {
        "hold_dict": defaultdict(list),
        "hold_policies": defaultdict(list),
    }
    with servers.redis() as url:
        with redis.Redis.from_url(url) as client:
            client.ping()
        _fill(url, tenants)
        for _ in range(ROUNDS if tenants <= MANY else 1):
            for kind, by_name in rounds.items():
                with ExitStack() as stack:
                    figures = ClientProcess(stack, kind, url, str(tenants)).values()
                for name, figure in figures.items():
                    by_name[name].append(figure)
    ours, bare = rounds["hold_policies"], rounds["hold_dict"]
    of, limit = f"{tenants:,} tenants", at_most(STALL_MS)
    yield Result(f"{of}, memory of each", "B", ours["bytes"], "bare dict", bare["bytes"], times_at_most(1.1))
    yield Result(
        f"{of}, loading",
        "/s",
        [tenants / seconds for seconds in ours["seconds"]],
        "bare HSCAN",
        [tenants / seconds for seconds in bare["seconds"]],
        times_at_least(0.6),
    )
    yield Result(f"{of}, longest stall while loading", "ms", ours["loading"], target=limit)
    yield Result(f"{of}, longest stall at first requests", "ms", ours["requests"], target=limit)
    yield Result(f"{of}, a full garbage collection", "ms", ours["collection"], "bare dict", bare["collection"], limit)
