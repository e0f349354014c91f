"""`make soak`: a day's changes through four client processes whose line to Redis is cut every few seconds.

Changes are made as the API's routes make them, without the cost of HTTP. Exits with 1 if a client's memory grew, or if
a client holds something other than the truth at the end.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
from redis.asyncio import Redis

from corspolicy.sync.wire import Keys
from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import Precondition
from policy_service.changes.request import ChangeRequest
from policy_service.database import Sessions, create_engine, create_redis, create_sessions
from policy_service.fleet import service as fleet
from policy_service.fleet.poller import FleetPoller
from policy_service.policies import service as policies
from policy_service.settings import Settings
from policy_service.tenants import service as tenants
from tests import servers
from tests.conftest import Databases
from tests.faults.line import RedisServer
from tests.faults.proxy import Proxy
from tests.support import Process, running

CHANGES = 50_000
WARM_CHANGES = 5_000
MAX_GROWTH = 1.05
CLIENTS = 4
TENANTS = 200
WRITERS = 16
# Short, so that some cuts make clients miss entries for good.
STREAM_LENGTH = 100
CUT_EVERY_SECONDS = (1.0, 4.0)
CUT_SECONDS = (0.0, 1.5)
CONVERGED_WITHIN_SECONDS = 60.0
MEBIBYTE = 2**20
ASKED = ChangeRequest(Caller("soak"), Precondition("*"), confirmed=True)


class Soak:
    """Writers, readers and the one who cuts, in one event loop."""

    def __init__(self, sessions: Sessions, http: httpx.AsyncClient, clients: list[Process], proxy: Proxy) -> None:
        self._sessions = sessions
        self._http = http
        self._clients = clients
        self._proxy = proxy
        self._written = dict.fromkeys((f"t{number}" for number in range(TENANTS)), 0)
        self.changes = 0
        self.requests = 0
        self.cuts = 0

    async def create_tenants(self) -> None:
        for tenant in self._written:
            await tenants.create(self._sessions, {"tenant": tenant}, ASKED)

    async def write(self, until: int) -> None:
        """Make changes, several at once, until there are so many."""
        async with asyncio.TaskGroup() as tasks:
            # Each has tenants of its own, so that the last write of each is known.
            for writer in range(WRITERS):
                tasks.create_task(self._write(list(self._written)[writer::WRITERS], until))

    async def _write(self, names: list[str], until: int) -> None:
        while self.changes < until:
            self.changes += 1
            tenant, number = random.choice(names), self.changes
            policy = {"allow_origins": [_origin(number), "https://*.example.com"], "allow_methods": ["PUT"]}
            await policies.put(self._sessions, tenant, "default", policy, ASKED)
            self._written[tenant] = number

    async def cut(self) -> None:
        """Cut the clients' line to Redis every few seconds, and keep it cut for a while."""
        while True:
            await asyncio.sleep(random.uniform(*CUT_EVERY_SECONDS))
            self._proxy.cut()
            self.cuts += 1
            await asyncio.sleep(random.uniform(*CUT_SECONDS))
            self._proxy.heal()

    async def read(self, client: Process) -> None:
        """Ask for tenants in turn, from origins that were never seen before."""
        while True:
            for tenant in self._written:
                await self.granted(client, tenant, f"https://{random.randrange(10**9)}.example.com")
                self.requests += 1
                await asyncio.sleep(0.05)

    async def granted(self, client: Process, tenant: str, origin: str) -> bool:
        answer = await self._http.get(f"{client.url}/t/{tenant}", headers={"Origin": origin})
        granted: str | None = answer.headers.get("access-control-allow-origin")
        return granted == origin

    async def memory(self) -> list[float]:
        """The resident memory of every client, in MiB."""
        processes = [(await self._http.get(f"{client.url}/livez")).json()["process"] for client in self._clients]
        return [psutil.Process(process).memory_info().rss / MEBIBYTE for process in processes]

    async def diverged(self, redis: Redis) -> list[str]:
        """What the clients hold that is not the truth, once they have had time to follow."""
        deadline = time.monotonic() + CONVERGED_WITHIN_SECONDS
        poller = FleetPoller(self._sessions, redis, Keys())
        while True:
            states = [process.state for process in (await fleet.read(poller)).processes]
            if states == ["current"] * CLIENTS:
                break
            if time.monotonic() > deadline:
                return [f"the fleet is {states}"]
            await asyncio.sleep(0.1)
        return [
            f"{client.url} on {tenant}: {wrong}"
            for client in self._clients
            for tenant, number in self._written.items()
            for wrong in await self._wrong(client, tenant, number)
        ]

    async def _wrong(self, client: Process, tenant: str, number: int) -> list[str]:
        wrong = []
        if not await self.granted(client, tenant, _origin(number)):
            wrong.append("the last origin is refused")
        if await self.granted(client, tenant, _origin(number - 1)):
            wrong.append("an origin of another change is admitted")
        return wrong


def _origin(number: int) -> str:
    return f"https://app{number}.example.net"


async def _run(settings: Settings, clients: list[Process], proxy: Proxy) -> bool:
    engine, redis = create_engine(settings.database_url), create_redis(settings.redis_url)
    async with httpx.AsyncClient(timeout=60) as http:
        soak = Soak(create_sessions(engine), http, clients, proxy)
        await soak.create_tenants()
        begin = time.monotonic()
        faults = [asyncio.create_task(soak.cut()), *(asyncio.create_task(soak.read(client)) for client in clients)]
        await soak.write(WARM_CHANGES)
        warm = await soak.memory()
        await soak.write(CHANGES)
        seconds = time.monotonic() - begin
        for task in faults:
            task.cancel()
        await asyncio.gather(*faults, return_exceptions=True)
        proxy.heal()
        diverged = await soak.diverged(redis)
        end = await soak.memory()
    await redis.aclose()
    await engine.dispose()
    print(f"{soak.changes} changes in {seconds:.0f} s, {soak.cuts} cuts of the line to Redis, {soak.requests} requests")
    print(f"{'client':>6} {f'MiB after {WARM_CHANGES}':>15} {'at the end':>11} {'ratio':>6}")
    for number, (before, after) in enumerate(zip(warm, end, strict=True), 1):
        print(f"{number:>6} {before:15.1f} {after:11.1f} {after / before:6.3f}")
    print("\n".join(diverged) or f"all {CLIENTS} clients hold the truth")
    return not diverged and all(after <= before * MAX_GROWTH for before, after in zip(warm, end, strict=True))


def main() -> bool:
    """Print the table; whether all is well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corspolicy-")))
        redis = stack.enter_context(RedisServer(folder))
        proxy = stack.enter_context(Proxy(redis.port))
        database_url = stack.enter_context(Databases(stack.enter_context(servers.postgres()))).create()
        environment = {
            "CORSPOLICY_DATABASE_URL": database_url,
            "CORSPOLICY_REDIS_URL": redis.url,
            "CORSPOLICY_STREAM_LENGTH": str(STREAM_LENGTH),
        }
        stack.enter_context(running("policy_service.app:create_app", environment))
        environment = {"CORSPOLICY_REDIS_URL": proxy.url, "TEST_TENANT_FROM": "path"}
        clients = [stack.enter_context(running("tests.chain.apps:billing", environment)) for _ in range(CLIENTS)]
        return asyncio.run(_run(Settings(database_url=database_url, redis_url=redis.url), clients, proxy))


if __name__ == "__main__":
    sys.exit(not main())
