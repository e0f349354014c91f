"""Redis is emptied under 100,000 tenants: how long all is written anew, how long a change waits, what a client pays."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import redis

from corspolicy import Policies
from corspolicy.wire import DOCUMENTS, EPOCH
from tests import servers
from tests.conftest import Databases, admin_key
from tests.faults.line import Sql
from tests.support import ROOT, Api, running, wait_until

TENANTS = 100_000
ORIGINS = [f"https://app{number}.example.com" for number in range(10)]
TICK_SECONDS = 0.005
MEBIBYTE = 2**20


class _Loop:
    """Watches for how long an event loop does nothing else."""

    def __init__(self) -> None:
        self.longest_stall = 0.0

    async def watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self.longest_stall = max(self.longest_stall, time.monotonic() - before - TICK_SECONDS)


async def _hold(url: str) -> None:
    """In a client process: follow, and answer each line that comes with what is held and what it took."""
    loop = _Loop()
    watching = asyncio.create_task(loop.watch())
    policies = Policies(url, startup_timeout=300)
    begin = time.monotonic()
    await policies.start()
    taken = time.monotonic() - begin
    while not watching.done():
        await asyncio.to_thread(sys.stdin.readline)
        memory = psutil.Process().memory_info().rss
        status = policies.status()
        state = {"seconds": taken, "tenants": status.tenants, "memory": memory, "stall": loop.longest_stall}
        print(json.dumps(state), flush=True)
        loop.longest_stall = 0.0


class _Client:
    def __init__(self, stack: ExitStack, url: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.rebuild", url]
        self._process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.kill)

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        state: dict[str, Any] = json.loads(self._process.stdout.readline())
        return state


def _insert(database_url: str, api: Api) -> None:
    """Tenants like one that was made by the API, behind the publisher's back."""
    tenant = api.new_tenant()
    assert api.put_policy(tenant, {"allow_origins": ORIGINS, "allow_methods": ["PUT"]}).status_code == 200
    with Sql(database_url) as sql:
        sql(
            "INSERT INTO tenants (slug, revision, document) SELECT 'bulk-' || n, nextval('revisions'), document"
            " FROM tenants, generate_series(1, $1::int) AS n WHERE slug = $2",
            *(TENANTS, tenant),
        )


def _rebuild(client: Any, api: Api, tenant: str) -> tuple[float, list[float]]:
    """Empty Redis; how long until all is written anew, and how long each change meanwhile took to get there."""
    delays = []
    client.flushall()
    begin = time.monotonic()
    while not client.exists(EPOCH):
        revision = api.allow(tenant, f"https://{len(delays)}.example.com")["revision"]
        answered = time.monotonic()
        wait_until(lambda revision=revision: _revision(client, tenant) >= revision, "it is in Redis", 120)  # type: ignore[misc]
        delays.append(time.monotonic() - answered)
    return time.monotonic() - begin, delays


def _revision(client: Any, tenant: str) -> int:
    return int((client.hget(DOCUMENTS, tenant) or b"0").partition(b" ")[0])


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis())
        databases = stack.enter_context(Databases(stack.enter_context(servers.postgres())))
        database_url = databases.create()
        environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        api = Api(service.url, admin_key(database_url))
        stack.enter_context(api.http)
        client: Any = stack.enter_context(redis.Redis.from_url(redis_url))
        tenant = api.new_tenant()
        _insert(database_url, api)
        for round_ in range(2):
            seconds, delays = _rebuild(client, api, tenant)
            print(
                f"rebuild {seconds:.1f} s; changes {len(delays)}: median {statistics.median(delays) * 1000:.0f} ms, longest {max(delays) * 1000:.0f} ms"
            )
            if round_ == 0:
                process = _Client(stack, redis_url)
            else:
                time.sleep(5)
            state = process.ask()
            print(state, client.info("memory")["used_memory"] / MEBIBYTE)
        for _ in range(3):
            begin = time.monotonic()
            answer = api.http.get("/v1/fleet")
            print(f"fleet {time.monotonic() - begin:.3f}", answer.json()["processes"][0]["state"])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_hold(sys.argv[1])) if len(sys.argv) > 1 else main()
