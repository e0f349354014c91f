"""The whole line in processes of its own, with places to break it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg
import httpx

from policy_service.local import embedded
from tests import servers
from tests.client.published import Published
from tests.conftest import admin_key
from tests.faults.proxy import Proxy
from tests.keys import CHANGES
from tests.support import Api, Process, free_port, wait_until

# What a tenant allows at first, and what instead after its change.
OLD, NEW = "https://old.example.com", "https://new.example.com"
STREAM_LENGTH = 10
# Full jitter up to its cap before the publisher, then before a client tries again, and time for the work itself.
RETRY_SECONDS = 5.0 + 5.0 + 3.0


def run_of(script: str) -> bytes:
    """What a request to Redis contains that runs this script."""
    return hashlib.sha1(script.encode()).hexdigest().encode()


class Recovery(NamedTuple):
    """How long it took from the end of a fault to the right header."""

    fault: str
    seconds: float


class RedisServer:
    """A Redis that can be killed and brought back."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._lock = (folder / "lock").open("w")
        self._stack = ExitStack()
        self._family = embedded.Family(self._lock)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._lock.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self._data)
        self._stack.enter_context(servers.redis_at(self._data, self.port, self._family))

    def kill(self) -> None:
        self._family.processes["Redis"].kill()
        self._stack.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It is silent, and its connections stay."""
        self._family.processes["Redis"].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._family.processes["Redis"].send_signal(signal.SIGCONT)


class Sql:
    """A connection to the database, of the test's own."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def __enter__(self) -> Sql:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()

    def __call__(self, statement: str, *values: object) -> list[Any]:
        rows: list[Any] = self._runner.run(self._connection.fetch(statement, *values))
        return rows

    def terminate(self, which: str = "application_name = 'corspolicy publisher'") -> None:
        """End the other connections to this database, those of publishers or `which`; returns when they are gone."""
        others = f"datname = current_database() AND pid <> pg_backend_pid() AND ({which})"
        ended = [row[0] for row in self(f"SELECT pid FROM pg_stat_activity WHERE {others}")]
        self("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", ended)
        gone = "SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY($1::int[]))"
        wait_until(lambda: self(gone, ended), "the connections are ended")


class Services:
    """The policy service, and two services that apply policies: `near` and `far`."""

    def __init__(
        self,
        stack: ExitStack,
        database_url: str,
        redis_url: str,
        near_url: str,
        far_url: str,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`near` and `far` reach Redis at URLs of their own. `settings` are those of all."""
        self._stack = stack
        self._settings = settings
        self.recoveries: list[Recovery] = []
        self.database_url = database_url
        self._redis_url = redis_url
        # New connections, but one TLS context: making a new one would take longer than what is measured.
        self._http = stack.enter_context(httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)))
        self._key = admin_key(database_url)
        self.service, self.api = self.start_service()
        self.near, self.far = self.start_clients(near_url, far_url)

    @property
    def clients(self) -> list[Process]:
        return [self.near, self.far]

    def sql(self) -> Sql:
        return Sql(self.database_url)

    def start_service(self, redis_url: str | None = None, **settings: str) -> tuple[Process, Api]:
        """One more policy service, with `settings` of its own; returns when it answers."""
        environment = {
            "CORSPOLICY_DATABASE_URL": self.database_url,
            "CORSPOLICY_REDIS_URL": redis_url or self._redis_url,
            "CORSPOLICY_STREAM_LENGTH": str(STREAM_LENGTH),
            **self._settings,
            **settings,
        }
        process = self._start("policy_service.app:create_app", environment)
        process.wait_until_answering()
        api = Api(process.url, self._key)
        self._stack.enter_context(api.http)
        return process, api

    def restart_service(self) -> None:
        self.service, self.api = self.start_service()

    def start_clients(self, *redis_urls: str) -> list[Process]:
        """More services that apply policies; returns when they answer."""
        environments = [
            {"CORSPOLICY_REDIS_URL": url, "TEST_TENANT_FROM": "path", **self._settings} for url in redis_urls
        ]
        clients = [self._start("tests.chain.apps:billing", environment) for environment in environments]
        for client in clients:
            client.wait_until_answering()
        return clients

    def _start(self, application: str, environment: dict[str, str]) -> Process:
        process = Process(application, free_port(), environment)
        self._stack.callback(process.stop)
        return process

    def heal(self) -> None:
        """Nothing here stays broken."""

    def new_tenant(self) -> str:
        """A tenant that allows OLD, everywhere."""
        tenant = self.api.new_tenant()
        self.put(tenant, OLD)
        self.wait_until_shown(tenant, OLD)
        return tenant

    def put(self, tenant: str, *origins: str) -> None:
        """Allow exactly these origins, by the API."""
        assert self.api.put_policy(tenant, {"allow_origins": list(origins)}).status_code == 200

    def change(self, tenant: str) -> None:
        """Remove OLD and allow NEW."""
        self.put(tenant, NEW)

    def granted(self, client: Process, tenant: str, origin: str) -> bool:
        """Whether a real cross-origin request allows `origin`."""
        answer = self._http.get(f"{client.url}/t/{tenant}", headers={"Origin": origin})
        assert answer.status_code == 200
        granted = answer.headers.get("access-control-allow-origin")
        assert granted in (None, origin)
        return granted is not None

    def shows(self, client: Process, tenant: str, origin: str | None) -> bool:
        """Whether real requests are granted `origin`, if any, and of OLD and NEW no other."""
        return all(self.granted(client, tenant, asked) == (asked == origin) for asked in {origin or OLD, OLD, NEW})

    def wait_until_shown(self, tenant: str, origin: str | None, *clients: Process, seconds: float = 20.0) -> None:
        for client in clients or self.clients:
            wait_until(
                lambda client=client: self.shows(client, tenant, origin),  # type: ignore[misc]
                f"{client.url} grants {tenant} {origin}",
                seconds,
            )

    def recovers(
        self,
        fault: str,
        tenant: str,
        origin: str = NEW,
        *clients: Process,
        keeping: str | None = None,
        since: float | None = None,
        within: float = RETRY_SECONDS,
    ) -> None:
        """Wait until the headers are right, and note how long that took; `keeping` allows OLD all the while."""

        def is_right(client: Process) -> bool:
            if keeping is not None:
                assert self.shows(client, keeping, OLD)
            return self.shows(client, tenant, origin)

        self.measure(fault, lambda: all(is_right(client) for client in clients or self.clients), within, since)

    def measure(
        self, fault: str, condition: Callable[[], object], within: float = RETRY_SECONDS, since: float | None = None
    ) -> None:
        """Wait for a condition, and note how long that took, from now or `since` then."""
        begin = since or time.monotonic()
        wait_until(condition, f"recovered from: {fault}", within)
        self.recoveries.append(Recovery(fault, time.monotonic() - begin))

    def follows(self, *clients: Process) -> None:
        """Wait until a change made now has gone all the way, and with it all that was before."""
        tenant = self.api.new_tenant("marker")
        self.put(tenant, OLD)
        self.wait_until_shown(tenant, OLD, *clients)

    def readiness(self, service: Process | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{(service or self.service).url}/readyz").json()
        return answer


class Line(Services):
    """The services, and a Redis that `near` reaches directly, the others through proxies."""

    def __init__(self, stack: ExitStack, database_url: str, folder: Path) -> None:
        self.redis = stack.enter_context(RedisServer(folder))
        self.proxy = stack.enter_context(Proxy(self.redis.port))
        self.service_proxy = stack.enter_context(Proxy(self.redis.port))
        self.published = Published(self.redis.url)
        stack.callback(self.published.redis.close)
        super().__init__(stack, database_url, self.service_proxy.url, self.redis.url, self.proxy.url)

    def heal(self) -> None:
        """Let everything through again, over new connections."""
        for proxy in (self.proxy, self.service_proxy):
            proxy.heal()
            proxy.reset()

    def newest_entry(self) -> bytes:
        """The id of the stream's newest entry."""
        newest: Any = self.published.redis.xrevrange(CHANGES, count=1)
        entry: bytes = newest[0][0]
        return entry
