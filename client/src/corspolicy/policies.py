"""The policies that a process holds: one handle for the application, one cache and feed for each event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from redis.asyncio import Redis

from corspolicy.cache import Cache
from corspolicy.decision import Chain, Reason
from corspolicy.feed import Feed
from corspolicy.status import Status

STOP_TIMEOUT_SECONDS = 2.0


class Replica:
    """The documents that one event loop holds, and the feed that keeps them current."""

    def __init__(self, redis_url: str, startup_timeout: float) -> None:
        self._cache = Cache()
        self._feed = Feed(redis_url, self._cache)
        self._deadline = time.monotonic() + startup_timeout
        self._task = asyncio.get_running_loop().create_task(self._feed.run(), name="corspolicy feed")
        self.users = 0

    def chains(self, service: str) -> dict[str, Chain]:
        """The chains of `service` compiled so far, by tenant; always the same mapping."""
        return self._cache.chains(service)

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant. Waits for the first snapshot, but not beyond `startup_timeout`."""
        if not self._cache.ready:
            await self.wait_until_ready()
        return self._cache.chain(service, tenant)

    async def wait_until_ready(self) -> None:
        """Return when a snapshot is held, or `startup_timeout` after the start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                while not self._cache.ready:
                    await self._feed.changed.wait()

    async def wait_for(self, revision: int) -> None:
        """Return when `revision` is applied."""
        while self._cache.revision < revision:
            await self._feed.changed.wait()

    async def stop(self) -> None:
        """End the feed, within two seconds."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT_SECONDS)

    def status(self, denied: Mapping[Reason, int]) -> Status:
        """What is held now."""
        cache, feed = self._cache, self._feed
        return Status(
            ready=cache.ready,
            connected=feed.connected,
            age=feed.age,
            revision=cache.revision,
            cursor=feed.cursor.decode(),
            tenants=len(cache),
            rejections=dict(cache.rejections),
            denied=dict(denied),
        )


class Policies:
    """Policies read from Redis. Share one among all middlewares of a process.

    It follows Redis while it is started (by the lifespan of an application that it is installed in, or by its
    first request) and holds one replica for each event loop: a forked worker or a second loop gets its own.
    """

    def __init__(self, redis_url: str | None = None, *, startup_timeout: float = 5.0) -> None:
        """`redis_url` defaults to CORSPOLICY_REDIS_URL; `startup_timeout`, in seconds, is how long a start or a
        first request waits for the policies before it goes on and grants nothing.

        Raises ValueError for a missing or malformed URL.
        """
        url = redis_url or os.environ.get("CORSPOLICY_REDIS_URL")
        if not url:
            raise ValueError("no Redis: set CORSPOLICY_REDIS_URL or pass redis_url, such as redis://localhost:6379/0")
        Redis.from_url(url)
        self._url = url
        self._startup_timeout = startup_timeout
        self._replicas: dict[asyncio.AbstractEventLoop, Replica] = {}
        self._chains: dict[str, dict[asyncio.AbstractEventLoop, dict[str, Chain]]] = {}
        self.denied: Counter[Reason] = Counter()

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
        loop = asyncio.get_running_loop()
        replica = self._replicas.get(loop)
        if replica is None:
            for known in [known for known in self._replicas if known.is_closed()]:
                self._forget(known)
            replica = self._replicas[loop] = Replica(self._url, self._startup_timeout)
        return replica

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        del self._replicas[loop]
        for by_loop in self._chains.values():
            by_loop.pop(loop, None)

    async def start(self) -> None:
        """Follow Redis in this event loop; return when a snapshot is held, or after `startup_timeout`."""
        replica = self._replica()
        replica.users += 1
        await replica.wait_until_ready()

    async def stop(self) -> None:
        """Undo one `start` in this event loop; the last one ends the feed."""
        loop = asyncio.get_running_loop()
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

    def status(self) -> Status:
        """What this event loop holds, and what it refused."""
        return self._replica().status(self.denied)
