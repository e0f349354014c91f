"""Fetches documents on demand, where there are more tenants than a process caches.

All requests that miss a document wait for one task, which asks for many tenants at once and pauses in between: however
many tenants are asked for, known or not, Redis sees one request at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from corspolicy.sync.cache import Cache
from corspolicy.sync.pace import Pace
from corspolicy.sync.wire import EPOCH_FIELD, Keys, read_epoch

DEADLINE_SECONDS = 1.0
# What answers at all answers this soon, on a slow line with the handshake of a new connection.
SILENCE_SECONDS = 2.5
# A connection that was left idle may be dead without a word: it gets this, and some times what it last took.
PATIENCE_SECONDS = 0.25
PATIENCE = 4
PAUSE_SECONDS = 0.01
RETRY_SECONDS = 1.0
MAX_WAITING = 1000

logger = logging.getLogger("corspolicy")


class Fetcher:
    """Fills one event loop's cache as requests ask for it. `run` it as a task."""

    def __init__(self, connect: Callable[[], Redis], keys: Keys, cache: Cache) -> None:
        self._connect = connect
        self._keys = keys
        self._cache = cache
        self._pace = Pace()
        self._redis: Redis | None = None
        self._took = 0.0
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._is_failing = False

    async def fetch(self, tenant: str) -> None:
        """Return when the tenant's document is cached, or known not to exist, or can't be had within a second."""
        waiting = self._waiting.get(tenant)
        if waiting is None:
            # Rather denied at once than queued without end, or behind a Redis that does not answer.
            if len(self._waiting) >= MAX_WAITING or time.monotonic() < self._retry_at:
                return
            waiting = self._waiting[tenant] = asyncio.get_running_loop().create_future()
            self._wake.set()
        await asyncio.wait([waiting], timeout=DEADLINE_SECONDS)

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                await self._wake.wait()
                batch = list(islice(self._waiting, self._pace.page))
                self._cache.expect(batch)
                done = batch
                try:
                    await self._fetch(batch)
                    self._is_failing = False
                except (RedisError, OSError) as error:
                    # All that wait: they would not have their documents in time.
                    level = logging.WARNING if not self._is_failing else logging.DEBUG
                    logger.log(level, "documents can't be fetched: %s", str(error) or type(error).__name__)
                    self._is_failing = True
                    self._retry_at = time.monotonic() + random.uniform(0, RETRY_SECONDS)
                    done = list(self._waiting)
                finally:
                    self._cache.release(batch)
                    self._done(done)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._done(list(self._waiting))
            await self._close()

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

    def _done(self, tenants: Sequence[str]) -> None:
        for tenant in tenants:
            waiting = self._waiting.pop(tenant, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if not self._waiting:
            self._wake.clear()

    async def _close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await redis.aclose()
