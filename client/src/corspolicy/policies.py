"""A process's policies: one handle for the application, one cache and feed for each event loop."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from corspolicy.core.decision import Chain, Reason
from corspolicy.status import Status
from corspolicy.sync.connection import connect
from corspolicy.sync.logs import logger
from corspolicy.sync.replica import Options, Replica
from corspolicy.sync.signatures import PUBLIC_KEYS_VARIABLE, Verifier
from corspolicy.sync.wire import NAMESPACE_VARIABLE, Keys

NEEDS_ASYNCIO = "corspolicy needs asyncio: serve this application with asyncio or uvloop, not with trio"


class Policies:
    """Policies read from Redis. Share one among all middlewares of a process.

    It follows Redis while it is started (by the lifespan of an application that it is installed in, or by its
    first request), with one replica for each event loop: a forked worker or a second loop gets its own.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        namespace: str | None = None,
        capacity: int = 100_000,
        startup_timeout: float = 5.0,
        max_stale: float | None = None,
        snapshot_path: str | Path | None = None,
        public_keys: Sequence[str] | None = None,
    ) -> None:
        """Times are in seconds.

        `redis_url` defaults to CORSPOLICY_REDIS_URL; `namespace`, for those who share a Redis, to
        CORSPOLICY_NAMESPACE or `corspolicy`: the policy service has the same. `capacity` is how many tenants'
        documents are cached at most: where there are more, they are fetched as requests ask for them, and the least
        recently used are evicted. `startup_timeout` is how long a start or a first request waits for policies, since
        the last of them came: a snapshot that is still coming in is waited for. `snapshot_path` names a file that is
        kept equal to the cached policies; a start that can't reach Redis goes on with it. `max_stale` is how old the
        cached policies may become, 5 or more, since Redis confirms them every 2 seconds: after that nothing is
        granted; None means forever. `public_keys`, by default those of CORSPOLICY_PUBLIC_KEYS, separated by commas,
        are the policy service's: with them, only policies are applied that are signed with one of them, and the
        policies are as old as what was signed of them last. Set `max_stale` too: it bounds how long somebody who can
        write to Redis can keep changes from this process.

        Raises ValueError for a missing or invalid URL, namespace or public key, and a capacity below 1.
        """
        url = redis_url or os.environ.get("CORSPOLICY_REDIS_URL")
        if not url:
            raise ValueError("no Redis: set CORSPOLICY_REDIS_URL or pass redis_url, such as redis://localhost:6379/0")
        keys = Keys.from_environment() if namespace is None else Keys(namespace)
        connect(url, keys)
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        path = None if snapshot_path is None else Path(snapshot_path)
        if public_keys is None:
            public_keys = [key for key in os.environ.get(PUBLIC_KEYS_VARIABLE, "").replace(",", " ").split() if key]
        elif not public_keys:
            raise ValueError("public_keys is empty: leave it out to ignore signatures")
        if public_keys:
            Verifier(keys.namespace, public_keys)
        self._options = Options(url, keys, capacity, startup_timeout, max_stale, path, tuple(public_keys))
        self._replicas: dict[asyncio.AbstractEventLoop, Replica] = {}
        self._chains: dict[str, dict[asyncio.AbstractEventLoop, dict[str, Chain]]] = {}
        self.denied: Counter[Reason] = Counter()

    @classmethod
    def shared(cls) -> Policies:
        """The policies that all middlewares of this process share that were given none. Raises ValueError."""
        variables = "CORSPOLICY_REDIS_URL", NAMESPACE_VARIABLE, PUBLIC_KEYS_VARIABLE
        settings = tuple(os.environ.get(name, "") for name in variables)
        if settings not in _shared:
            _shared[settings] = cls()
        return _shared[settings]

    def chains(self, service: str) -> Mapping[asyncio.AbstractEventLoop, Mapping[str, Chain]]:
        """The chains of `service` compiled so far, by event loop and tenant; always the same mapping."""
        return self._chains.setdefault(service, {})

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant; the first call in an event loop starts to follow Redis."""
        replica = self._replica()
        self._chains.setdefault(service, {})[asyncio.get_running_loop()] = replica.chains(service)
        return await replica.chain(service, tenant)

    def _replica(self) -> Replica:
        """The replica of the running event loop, started now if it is not running."""
        loop = _running_loop()
        replica = self._replicas.get(loop)
        if replica is None:
            for known in [known for known in self._replicas if known.is_closed()]:
                self._forget(known)
            replica = self._replicas[loop] = Replica(self._options, self._chains, self.denied)
        return replica

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        del self._replicas[loop]
        for by_loop in self._chains.values():
            by_loop.pop(loop, None)

    async def start(self) -> None:
        """Follow Redis in this event loop; return when there are policies, or after `startup_timeout`.

        Raises RuntimeError where there is no asyncio event loop, as under trio.
        """
        replica = self._replica()
        replica.users += 1
        await replica.wait_until_ready()

    async def stop(self) -> None:
        """Undo one `start` in this event loop; the last one ends the feed, and tells the policy service."""
        if not self._replicas:
            return
        loop = _running_loop()
        replica = self._replicas.get(loop)
        if replica is None:
            return
        replica.users -= 1
        if replica.users <= 0:
            self._forget(loop)
            await replica.stop()

    async def wait_for(self, revision: int, timeout: float | None = None) -> None:
        """Return when `revision` is applied in this event loop. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._replica().wait_for(revision)

    def is_ready(self) -> bool:
        """Whether this event loop has policies that are not too old: for your own readiness route."""
        return self.status().ready

    def status(self) -> Status:
        """What this event loop has applied, and what it rejected."""
        return self._replica().status()


_shared: dict[tuple[str, ...], Policies] = {}


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        # Logged as well: a server may go on without the lifespan that failed, and not say why.
        logger.critical(NEEDS_ASYNCIO)
        raise RuntimeError(NEEDS_ASYNCIO) from None
