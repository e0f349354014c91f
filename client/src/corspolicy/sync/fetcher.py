"""Fetches documents on demand, where there are more tenants than a process holds.

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
from corspolicy.sync.wire import DOCUMENTS, EPOCH

DEADLINE_SECONDS = 1.0
# What answers at all answers this soon, on a slow line with the handshake of a new connection.
SILENCE_SECONDS = 2.5
PAUSE_SECONDS = 0.01
RETRY_SECONDS = 1.0
BATCH = 200
MAX_WAITING = 1000

logger = logging.getLogger("corspolicy")


class Fetcher:
    """Fills one event loop's cache as requests ask for it. `run` it as a task."""

    def __init__(self, connect: Callable[[], Redis], cache: Cache) -> None:
        self._connect = connect
        self._cache = cache
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._is_failing = False

    async def fetch(self, tenant: str) -> None:
        """Return when the tenant's document is held, or is known not to exist, or can't be had within a second."""
        waiting = self._waiting.get(tenant)
        if waiting is None:
            # Rather refused at once than queued without end, or behind a Redis that does not answer.
            if len(self._waiting) >= MAX_WAITING or time.monotonic() < self._retry_at:
                return
            waiting = self._waiting[tenant] = asyncio.get_running_loop().create_future()
            self._wake.set()
        await asyncio.wait([waiting], timeout=DEADLINE_SECONDS)

    async def run(self) -> None:
        """Fetch until cancelled."""
        redis: Redis | None = None
        try:
            while True:
                await self._wake.wait()
                batch = list(islice(self._waiting, BATCH))
                self._cache.awaited.update(batch)
                redis = redis or self._connect()
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await self._fetch_batch(redis, batch)
                except (RedisError, OSError) as error:
                    # All that wait: they would not have their documents in time.
                    level = logging.WARNING if not self._is_failing else logging.DEBUG
                    logger.log(level, "documents can't be fetched: %s", str(error) or type(error).__name__)
                    self._is_failing = True
                    self._retry_at = time.monotonic() + random.uniform(0, RETRY_SECONDS)
                    batch = list(self._waiting)
                    await _close(redis)
                    redis = None
                else:
                    self._is_failing = False
                finally:
                    self._done(batch)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._done(list(self._waiting))
            if redis is not None:
                await _close(redis)

    async def _fetch_batch(self, redis: Redis, tenants: Sequence[str]) -> None:
        epoch = self._cache.epoch
        values: Any = await redis.hmget(DOCUMENTS, list(tenants))
        # Only of the epoch that is followed: while Redis is being rebuilt, what is missing says nothing.
        if await redis.get(EPOCH) == epoch == self._cache.epoch:
            for tenant, value in zip(tenants, values, strict=True):
                self._cache.take(tenant, value)

    def _done(self, tenants: Sequence[str]) -> None:
        self._cache.awaited.difference_update(tenants)
        for tenant in tenants:
            waiting = self._waiting.pop(tenant, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if not self._waiting:
            self._wake.clear()


async def _close(redis: Redis) -> None:
    with suppress(RedisError, OSError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await redis.aclose()
