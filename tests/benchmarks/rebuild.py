"""`make bench-rebuild`: Redis is emptied under 100,000 tenants.

How long until all is written anew, how long a change waits meanwhile, and what it costs a client to hold them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis

from corspolicy import Policies
from tests import servers
from tests.conftest import Databases, admin_key
from tests.faults.line import Sql
from tests.keys import CHANGES, EPOCH
from tests.support import ROOT, Api, running, wait_until

TENANTS = 100_000
ORIGINS = [f"https://app{number}.example.com" for number in range(10)]
TICK_SECONDS = 0.005
WITHIN_SECONDS = 600.0
MEBIBYTE = 2**20


async def _hold(url: str, file: str) -> None:
    """In a client process: follow, and answer each line that comes with what is held, and what that took."""
    stall = work = 0.0

    async def watch() -> None:
        nonlocal stall, work
        while True:
            before, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK_SECONDS)
            # On a busy machine a process waits for its turn, too: its own work is what it can be blamed for.
            stall = max(stall, time.monotonic() - before - TICK_SECONDS)
            work = max(work, time.process_time() - worked)

    watching = asyncio.create_task(watch())
    process = psutil.Process()
    bare = process.memory_info().rss
    policies = Policies(url, capacity=2 * TENANTS, startup_timeout=WITHIN_SECONDS, snapshot_path=file)
    begin = time.monotonic()
    await policies.start()
    seconds = time.monotonic() - begin
    while not watching.done():
        if "reset" in await asyncio.to_thread(sys.stdin.readline):
            stall = work = 0.0
        memory = (process.memory_info().rss - bare) / MEBIBYTE
        tenants = policies.status().tenants
        state = {"seconds": seconds, "tenants": tenants, "memory": memory, "stall": stall * 1000, "work": work * 1000}
        print(json.dumps(state), flush=True)


class _Client:
    def __init__(self, stack: ExitStack, url: str) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corspolicy-")))
        self.file = folder / "last-good"
        command = [sys.executable, "-m", "tests.benchmarks.rebuild", url, str(self.file)]
        self._process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.kill)

    def ask(self, word: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin, flush=True)
        state: dict[str, Any] = json.loads(self._process.stdout.readline())
        return state

    def show(self, what: str) -> None:
        state = self.ask()
        stall = (
            f"its event loop stood still for {state['stall']:.0f} ms at most, {state['work']:.0f} ms of that at work"
        )
        print(f"client: {what}: {state['tenants']} tenants in {state['memory']:.0f} MiB; {stall}")
        self.ask("reset")


def _insert(database_url: str, tenant: str, names: str, count: int) -> None:
    """Tenants like one that there is, behind the publisher's back."""
    with Sql(database_url) as sql:
        sql(
            "INSERT INTO tenants (slug, revision, document) SELECT $1 || n, nextval('revisions'), document"
            " FROM tenants, generate_series(1, $2::int) AS n WHERE slug = $3",
            *(names, count, tenant),
        )


def _change_while(is_going_on: Callable[[], bool], client: Any, api: Api, tenant: str) -> None:
    """Make one change after the other; print how long each took from its response to the stream."""
    delays = []
    begin = time.monotonic()
    while is_going_on():
        revision = api.allow(tenant, f"https://{time.monotonic_ns()}.example.com")["revision"]
        answered = time.monotonic()
        wait_until(partial(_is_announced, client, revision), "it is in the stream", WITHIN_SECONDS)
        delays.append((time.monotonic() - answered) * 1000)
    seconds, median = time.monotonic() - begin, statistics.median(delays)
    print(
        f"{seconds:.1f} s, {len(delays)} changes, to the stream: median {median:.0f} ms, longest {max(delays):.0f} ms"
    )


def _is_announced(client: Any, revision: int) -> bool:
    newest = client.xrevrange(CHANGES, count=1)
    return bool(newest) and int(newest[0][1].get(b"envelope", b"0").partition(b" ")[0]) >= revision


def _rebuild(client: Any, api: Api, tenant: str) -> None:
    client.flushall()
    print("Redis emptied, until all is written anew: ", end="", flush=True)
    _change_while(lambda: not client.exists(EPOCH), client, api, tenant)


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis())
        database_url = stack.enter_context(Databases(stack.enter_context(servers.postgres()))).create()
        environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        api = Api(service.url, admin_key(database_url))
        stack.enter_context(api.http)
        redis_client: Any = stack.enter_context(redis.Redis.from_url(redis_url))
        tenant, busy = api.new_tenant(), api.new_tenant()
        assert api.put_policy(tenant, {"allow_origins": ORIGINS, "allow_methods": ["PUT"]}).status_code == 200
        _insert(database_url, tenant, "bulk-", TENANTS)
        _rebuild(redis_client, api, busy)

        client = _Client(stack, redis_url)
        print(f"client: its first snapshot took {client.ask()['seconds']:.1f} s")
        client.show("since its start")
        # The client shows that it has taken another snapshot by a tenant that nobody told it of.
        tenants = client.ask()["tenants"]
        _insert(database_url, tenant, "late-", 1)
        _rebuild(redis_client, api, busy)
        wait_until(lambda: client.ask()["tenants"] > tenants, "the client holds another snapshot", WITHIN_SECONDS)
        client.show("during the rebuild and another snapshot")
        written_at = client.file.stat().st_mtime
        print("changes, until the last-known-good file is written: ", end="", flush=True)
        _change_while(lambda: client.file.stat().st_mtime == written_at, redis_client, api, busy)
        client.show("meanwhile")
        taken = []
        for _ in range(5):
            begin = time.monotonic()
            assert api.http.get("/v1/fleet").status_code == 200
            taken.append((time.monotonic() - begin) * 1000)
        print(f"GET /v1/fleet: median {statistics.median(taken):.0f} ms")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_hold(*sys.argv[1:]))
    else:
        main()
