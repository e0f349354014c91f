"""Reads and writes through the API, beside the same queries and transactions in bare asyncpg.

A write is one request: an origin is added, then removed, and so on. Each connection changes a tenant of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import asyncpg
import psutil

from policy_service.documents.model import StoredDocument
from tests.benchmarks.deployment import ORIGINS, Deployment, deployment, insert_bare, read_bare, write_bare
from tests.benchmarks.http_client import Connection
from tests.benchmarks.results import Result, at_least, at_most

CONNECTIONS = (1, 16)
ROUNDS = 7
SECONDS = 0.6
ORIGIN = "https://new.example.com"
READ, WRITE = "GET of a policy", "POST or DELETE of an origin"


class _Window(NamedTuple):
    """What was done in one window of time."""

    per_second: float
    cpu: float
    """Milliseconds of the service's processor time, for each request."""


class _Caller:
    """One connection to the API and one to the bare database, each with a tenant of its own."""

    def __init__(self, tenant: str, database: asyncpg.Connection, document: str) -> None:
        self._tenant = tenant
        self.http: Connection
        self._database = database
        self._document = document
        self._path = f"/v1/tenants/{tenant}/policies/default"
        self._entry: str | None = None

    async def read(self) -> None:
        await self.http.send("GET", self._path)

    async def write(self) -> None:
        if self._entry is None:
            self._entry = (await self.http.send("POST", f"{self._path}/origins", {"pattern": ORIGIN}))["id"]
        else:
            entry, self._entry = self._entry, None
            await self.http.send("DELETE", f"{self._path}/origins/{entry}?confirm=true")

    async def read_bare(self) -> None:
        await read_bare(self._database, self._tenant)

    async def write_bare(self) -> None:
        await write_bare(self._database, self._tenant, self._document)


async def _window(at: Deployment, kind: str, callers: Sequence[_Caller]) -> _Window:
    async def repeat(work: Callable[[], Awaitable[None]]) -> int:
        count = 0
        while time.monotonic() < end:
            await work()
            count += 1
        return count

    # New ones each time: the server closes those that are idle.
    for caller in callers:
        caller.http = await Connection.open(at.service.url, at.key)
    service = psutil.Process(at.service.pid)
    used, begin = _cpu(service), time.monotonic()
    end = begin + SECONDS
    count = sum(await asyncio.gather(*(repeat(getattr(caller, kind)) for caller in callers)))
    window = _Window(count / (time.monotonic() - begin), (_cpu(service) - used) * 1000 / count)
    for caller in callers:
        caller.http.close()
    return window


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _callers(stack: AsyncExitStack, at: Deployment, tenants: list[str]) -> list[_Caller]:
    callers = []
    async with asyncio.TaskGroup() as tasks:
        sources = [tasks.create_task(asyncpg.connect(at.bare_database_url)) for _ in tenants]
    database = await asyncpg.connect(at.database_url)
    for tenant, source in zip(tenants, sources, strict=True):
        bare = source.result()
        stack.push_async_callback(bare.close)
        document = await database.fetchval("SELECT document::text FROM tenants WHERE slug = $1", tenant)
        StoredDocument.model_validate_json(document)
        await insert_bare(bare, tenant, document)
        callers.append(_Caller(tenant, bare, document))
    await database.close()
    return callers


async def _measure(at: Deployment, tenants: list[str]) -> dict[tuple[str, int], list[_Window]]:
    windows: dict[tuple[str, int], list[_Window]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        callers = await _callers(stack, at, tenants)
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                for kind in ("read", "write", "read_bare", "write_bare"):
                    windows[kind, connections].append(await _window(at, kind, callers[:connections]))
    return windows


def run() -> Iterator[Result]:
    """Requests a second, and the service's processor time for each."""
    with deployment() as at:
        tenants = [at.api.new_tenant() for _ in range(max(CONNECTIONS))]
        for tenant in tenants:
            policy = {"allow_origins": ORIGINS, "allow_methods": ["PUT"]}
            assert at.api.put_policy(tenant, policy).status_code == 200
        windows = asyncio.run(_measure(at, tenants))
    for kind, name in (("read", READ), ("write", WRITE)):
        for connections in CONNECTIONS:
            ours, bare = windows[kind, connections], windows[f"{kind}_bare", connections]
            yield Result(
                f"{name}, {connections} connection{'s' * (connections > 1)}",
                "/s",
                [window.per_second for window in ours],
                "bare asyncpg",
                [window.per_second for window in bare],
                at_least(400) if (kind, connections) == ("write", 16) else None,
            )
    for kind, name in (("read", READ), ("write", WRITE)):
        for connections in CONNECTIONS:
            cpu = [window.cpu for window in windows[kind, connections]]
            limit = at_most(1.0 if kind == "read" else 2.5)
            yield Result(
                f"{name}, processor, {connections} connection{'s' * (connections > 1)}", "ms", cpu, "", (), limit
            )
