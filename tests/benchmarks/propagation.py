"""From a write's response to the changed header in ten processes, beside a bare XADD-to-XREAD in the same processes."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import redis

from corspolicy import CORSPolicyMiddleware, Policies
from tests import servers
from tests.conftest import Databases, admin_key
from tests.support import ROOT, Api, running

PROCESSES = 10
ROUNDS = 100
ORIGIN = "https://app.example.com"
TENANT = "bench"
BARE_STREAM = "bench"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _read_bare(url: str) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(url, single_connection_client=True, protocol=2, socket_timeout=None) as client:
        cursor: Any = b"0-0"
        print("ready", flush=True)
        while True:
            answer: Any = await client.xread({BARE_STREAM: cursor}, block=2000)
            now = time.monotonic_ns()
            for entry in answer[0][1] if answer else []:
                cursor = entry[0]
                print(f"bare {now}", flush=True)


async def _follow(url: str) -> None:
    """In a client process: print when the header of a request through the middleware changes."""
    policies = Policies(url)
    middleware = CORSPolicyMiddleware(_app, service="bench", tenant=TENANT, policies=policies)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"origin", ORIGIN.encode())]}
    granted = False

    async def send(message: Any) -> None:
        nonlocal granted
        if message["type"] == "http.response.start":
            granted = (b"access-control-allow-origin", ORIGIN.encode()) in message["headers"]

    await policies.start()
    bare = asyncio.create_task(_read_bare(url))
    was_granted = False
    while not bare.done():
        await policies.wait_for(policies.status().revision + 1)
        await middleware(scope, None, send)  # type: ignore[arg-type]
        if granted != was_granted:
            was_granted = granted
            print(f"ours {time.monotonic_ns()}", flush=True)


class _Clients:
    def __init__(self, stack: ExitStack, url: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.propagation", url]
        self._processes = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
            for _ in range(PROCESSES)
        ]
        for process in self._processes:
            stack.callback(process.kill)
        self.lines("ready")

    def lines(self, kind: str) -> list[int]:
        """The next line of every process, which is of this kind: when it happened."""
        happened = []
        for process in self._processes:
            assert process.stdout is not None
            name, _, instant = process.stdout.readline().strip().partition(" ")
            assert name == kind, name
            happened.append(int(instant or 0))
        return happened


def _summary(name: str, delays: list[list[int]]) -> tuple[float, float]:
    each = statistics.median(delay for round_ in delays for delay in round_) / 1e6
    last = statistics.median(max(round_) for round_ in delays) / 1e6
    print(f"{name:<46} {each:9.2f} {last:16.2f}")
    return each, last


def main() -> None:
    """Print the two medians and their ratio."""
    ours: list[list[int]] = []
    bare: list[list[int]] = []
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis())
        databases = stack.enter_context(Databases(stack.enter_context(servers.postgres())))
        environment = {"CORSPOLICY_DATABASE_URL": databases.create(), "CORSPOLICY_REDIS_URL": redis_url}
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        api = Api(service.url, admin_key(environment["CORSPOLICY_DATABASE_URL"]))
        stack.enter_context(api.http)
        assert api.http.post("/v1/tenants", json={"tenant": TENANT}).status_code == 201
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        client.ping()
        clients = _Clients(stack, redis_url)
        for _ in range(ROUNDS):
            entry = api.allow(TENANT, ORIGIN)
            answered = time.monotonic_ns()
            ours.append([instant - answered for instant in clients.lines("ours")])
            api.remove(TENANT, entry["id"])
            answered = time.monotonic_ns()
            ours.append([instant - answered for instant in clients.lines("ours")])
            for _ in range(2):
                added = time.monotonic_ns()
                client.xadd(BARE_STREAM, {"x": "1"})
                bare.append([instant - added for instant in clients.lines("bare")])
    print(f"To {PROCESSES} processes on {os.cpu_count()} cores, median of {len(ours)}, in ms:")
    print(f"{'':<46} {'a process':>9} {'the last of them':>16}")
    theirs = _summary("bare XADD to XREAD", bare)
    mine = _summary("a write's response to the changed header", ours)
    print(f"{'ratio':<46} {mine[0] / theirs[0]:9.2f} {mine[1] / theirs[1]:16.2f}")


if __name__ == "__main__":
    asyncio.run(_follow(sys.argv[1]))
