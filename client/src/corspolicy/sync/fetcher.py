"""Fetches documents on demand, where there are more tenants than a process caches.

All requests that miss a document wait for one task, which asks for many tenants at once and pauses in between: however
many tenants are asked for, Redis sees one request at a time. There are two such tasks, with a connection each: one for
tenants that are known to exist, and one for all others, who may be anything that a request names. However many of
those are asked for, the known ones neither wait behind them nor lose their places to them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from corspolicy.sync.cache import Cache
from corspolicy.sync.logs import logger
from corspolicy.sync.pace import Pace
from corspolicy.sync.wire import EPOCH_FIELD, Keys, read_epoch

# A request waits so long for the fetch of its tenant to begin, and then so long for its end.
QUEUE_SECONDS = 1.0
DEADLINE_SECONDS = 1.0
# What answers at all answers this soon, on a slow line with the handshake of a new connection.
SILENCE_SECONDS = 2.5
# A connection that was left idle may be dead without a word: it gets this, and some times what it last took.
PATIENCE_SECONDS = 0.25
PATIENCE = 4
PAUSE_SECONDS = 0.01
RETRY_SECONDS = 1.0
MAX_WAITING = 1000
"""How many tenants each queue has places for."""


class Fetcher:
    """Fills one event loop's cache as requests ask for it. `run` it as a task."""

    def __init__(self, connect: Callable[[], Redis], keys: Keys, cache: Cache) -> None:
        self._cache = cache
        self._known, self._others = Queue(connect, keys, cache), Queue(connect, keys, cache)

    async def fetch(self, tenant: str) -> None:
        """Return when the tenant's document is cached, or known not to exist, or can't be had in time."""
        await (self._known if self._cache.is_known(tenant) else self._others).fetch(tenant)

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._known.run())
            tasks.create_task(self._others.run())


class _Place:
    """That of a tenant in a queue."""

    __slots__ = ("begun", "ended", "waiting")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.waiting = 0
        """How many requests wait."""

    async def wait(self) -> None:
        """Wait for the end of the fetch; each request as long as is allowed."""
        if not self.begun.done():
            await asyncio.wait([self.begun], timeout=QUEUE_SECONDS)
        if self.begun.done():
            await asyncio.wait([self.ended], timeout=DEADLINE_SECONDS)


class Queue:
    """Tenants whose documents are fetched over one connection, first come, first served."""

    def __init__(self, connect: Callable[[], Redis], keys: Keys, cache: Cache) -> None:
        self._connect = connect
        self._keys = keys
        self._cache = cache
        self._pace = Pace()
        self._redis: Redis | None = None
        self._took = 0.0
        self._places: dict[str, _Place] = {}
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._is_failing = False

    async def fetch(self, tenant: str) -> None:
        """Return when the tenant was fetched, or can't be in time; at once, if there is no place for it."""
        place = self._places.get(tenant)
        if place is None:
            # Rather denied at once than queued without end, or behind a Redis that does not answer.
            if len(self._places) >= MAX_WAITING or time.monotonic() < self._retry_at:
                return
            place = self._places[tenant] = _Place()
            self._wake.set()
        place.waiting += 1
        try:
            await place.wait()
        finally:
            place.waiting -= 1
            if not place.waiting and not place.begun.done():
                del self._places[tenant]

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                await self._wake.wait()
                batch = list(islice(self._places, self._pace.page))
                if not batch:
                    self._wake.clear()
                    continue
                await self._serve(batch)
                await asyncio.sleep(max(PAUSE_SECONDS, self._retry_at - time.monotonic()))
        finally:
            self._end(list(self._places))
            await self._close()

    async def _serve(self, batch: Sequence[str]) -> None:
        self._cache.expect(batch)
        try:
            await self._fetch(batch)
            self._is_failing = False
        except (RedisError, OSError) as error:
            level = logging.WARNING if not self._is_failing else logging.DEBUG
            logger.log(level, "documents can't be fetched: %s", str(error) or type(error).__name__)
            self._failed()
        except Exception:
            # One that ended of a bug would deny all that is not cached, forever.
            logger.exception("documents can't be fetched")
            self._failed()
        finally:
            self._cache.release(batch)
            self._end(batch)

    def _failed(self) -> None:
        self._is_failing = True
        self._retry_at = time.monotonic() + random.uniform(0, RETRY_SECONDS)

    async def _fetch(self, tenants: Sequence[str]) -> None:
        """Fetch over the connection that there is, or else, or if that fails, over a fresh one."""
        if self._redis is not None:
            patience = min(PATIENCE_SECONDS + PATIENCE * self._took, SILENCE_SECONDS)
            try:
                await self._fetch_within(patience, self._redis, tenants)
                return
            except (RedisError, OSError) as error:
                logger.debug("fetching over a fresh connection: %s", str(error) or type(error).__name__)
                await self._close()
        self._redis = self._connect()
        self._pace.connected()
        try:
            await self._fetch_within(SILENCE_SECONDS, self._redis, tenants)
        except (RedisError, OSError):
            self._pace.failed()
            await self._close()
            raise

    async def _fetch_within(self, seconds: float, redis: Redis, tenants: Sequence[str]) -> None:
        async with asyncio.timeout(seconds):
            await redis.initialize()
            self._begin(tenants)
            epoch = self._cache.epoch
            began_at = time.monotonic()
            answer: Any = await redis.hmget(self._keys.documents, [EPOCH_FIELD.decode(), *tenants])
            self._took = time.monotonic() - began_at
        if len(tenants) == self._pace.page:
            self._pace.took(self._took)
        else:
            self._pace.answered(self._took)
        inside, *values = answer
        # Only of the epoch that is followed: while Redis is being rebuilt, what is missing says nothing.
        if epoch is not None and read_epoch(inside) == epoch == self._cache.epoch:
            for tenant, value in zip(tenants, values, strict=True):
                self._cache.take(tenant, value)

    def _begin(self, tenants: Iterable[str]) -> None:
        for tenant in tenants:
            place = self._places.get(tenant)
            if place is not None and not place.begun.done():
                place.begun.set_result(None)

    def _end(self, tenants: Sequence[str]) -> None:
        self._begin(tenants)
        for tenant in tenants:
            place = self._places.pop(tenant, None)
            if place is not None:
                place.ended.set_result(None)

    async def _close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await redis.aclose()
