"""What runs in the client processes of the benchmarks. It imports no more than a client needs."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from corspolicy import CORSPolicyMiddleware, Policies
from corspolicy.core.decision import Decision, decide
from corspolicy.sync.connection import connect
from corspolicy.sync.wire import Keys
from tests.benchmarks.stalls import Stalls

SERVICE = "bench"
ORIGIN = "https://app.example.com"
BARE_STREAM = "bench"
FIRST_REQUESTS = 2_000
PAGE = 1_000
WITHIN_SECONDS = 600.0


async def watch_header(url: str, tenant: str) -> None:
    """Tell when the header of a request through the middleware changes, and when an entry comes in a bare stream."""
    policies = Policies(url)
    middleware = CORSPolicyMiddleware(_app, service=SERVICE, tenant=tenant, policies=policies)
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


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _read_bare(url: str) -> None:
    async with connect(url, single_connection_client=True) as client:
        cursor: Any = b"0-0"
        print("ready", flush=True)
        while True:
            answer: Any = await client.xread({BARE_STREAM: cursor}, block=2000)
            now = time.monotonic_ns()
            for entry in answer[0][1] if answer else []:
                cursor = entry[0]
                print(f"bare {now}", flush=True)


async def follow_one(url: str, tenant: str) -> None:
    """Tell of each revision when it was applied and a request answered; the processor time and the longest stall."""
    policies = Policies(url, startup_timeout=60)
    await policies.start()
    await _decision(policies, tenant, ORIGIN)
    print("ready", flush=True)
    async with Stalls() as stalls:
        worked = time.process_time()
        while True:
            await policies.wait_for(policies.status().revision + 1)
            await _decision(policies, tenant, ORIGIN)
            applied, cpu = time.monotonic(), (time.process_time() - worked) * 1000
            # The next beat tells what the request did.
            await asyncio.sleep(0.01)
            print(json.dumps([applied, cpu, stalls.longest]), flush=True)
            stalls.reset()
            worked = time.process_time()


async def _decision(policies: Policies, tenant: str, origin: str) -> Decision:
    chain = await policies.chain(SERVICE, tenant)
    return decide(chain, "GET", [(b"origin", origin.encode())], time.time())


async def follow_with_many(url: str, feeds: str) -> None:
    """Follow with several feeds; once a line tells of the last change, tell what each saw and what is wrong.

    The line has the revision of the last change, and by tenant the origin that it allows in the end.
    """
    all_policies = [Policies(url, startup_timeout=60) for _ in range(int(feeds))]
    async with asyncio.TaskGroup() as tasks:
        for policies in all_policies:
            tasks.create_task(policies.start())
    seen: list[list[tuple[int, float]]] = [[] for _ in all_policies]
    noting = [asyncio.create_task(_note(*pair)) for pair in zip(all_policies, seen, strict=True)]
    print("ready", flush=True)
    revision, allowed = json.loads(await asyncio.to_thread(sys.stdin.readline))
    async with asyncio.timeout(WITHIN_SECONDS):
        while not all(of_feed and of_feed[-1][0] >= revision for of_feed in seen):
            await asyncio.sleep(0.01)
    wrong = 0
    for policies in all_policies:
        for tenant, origin in allowed.items():
            wrong += not (await _decision(policies, tenant, origin)).allowed
    for task in noting:
        task.cancel()
    print(json.dumps([seen, wrong]), flush=True)


async def _note(policies: Policies, seen: list[tuple[int, float]]) -> None:
    while True:
        await policies.wait_for(policies.status().revision + 1)
        seen.append((policies.status().revision, time.monotonic()))


async def hold_dict(url: str, tenants: str) -> None:
    """Read every field of the hash into a dict by HSCAN; tell how long that took, and what it takes."""
    held: dict[bytes, bytes] = {}
    async with connect(url) as client:
        await client.ping()
        before, begin, position = _rss(), time.monotonic(), 0
        while True:
            page: Any
            position, page = await client.hscan(Keys().documents, position, count=PAGE)
            held.update(page)
            if position == 0:
                break
        seconds = time.monotonic() - begin
    assert len(held) >= int(tenants)
    memory = (_rss() - before) / int(tenants)
    print(json.dumps({"seconds": seconds, "bytes": memory, "collection": _collection()}))


async def hold_policies(url: str, tenants: str) -> None:
    """Take a snapshot, then answer first requests; tell the same, and the longest stalls."""
    count = int(tenants)
    async with connect(url) as client:
        await client.ping()
    policies = Policies(url, capacity=2 * count, startup_timeout=WITHIN_SECONDS)
    figures = {}
    async with Stalls() as stalls:
        before, begin = _rss(), time.monotonic()
        await policies.start()
        figures["seconds"] = time.monotonic() - begin
        await asyncio.sleep(0.01)
        figures["loading"] = stalls.longest
        assert policies.status().tenants == count
        figures["bytes"] = (_rss() - before) / count
        await asyncio.sleep(0.01)
        stalls.reset()
        numbers = random.Random(1)
        for _ in range(FIRST_REQUESTS):
            assert (await _decision(policies, tenant_name(numbers.randrange(count)), ORIGIN)).allowed
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        figures["requests"] = stalls.longest
    figures["collection"] = _collection()
    await policies.stop()
    print(json.dumps(figures))


def tenant_name(number: int) -> str:
    """The name of one of very many tenants."""
    return f"tenant-{number}"


def _rss() -> int:
    gc.collect()
    rss: int = psutil.Process().memory_info().rss
    return rss


def _collection() -> float:
    """A full pass of the garbage collector, which may come at any request, in ms."""
    begin = time.process_time()
    gc.collect()
    return (time.process_time() - begin) * 1000


KINDS: dict[str, Callable[[str, str], Awaitable[None]]] = {
    each.__name__: each for each in (watch_header, follow_one, follow_with_many, hold_dict, hold_policies)
}


async def _main(kind: str, url: str, argument: str) -> None:
    await KINDS[kind](url, argument)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
