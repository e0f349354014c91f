"""Follows the published documents: a snapshot once, then the stream of changes by cursor.

The feed keeps a position, not a subscription: after any break it goes on where it was, and where that is not
possible (the stream was cut past the cursor, Redis was rebuilt) it takes a new snapshot. Until the snapshot is
complete, what is held stays.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from corspolicy.core.document import PLATFORM, UnreadableDocument
from corspolicy.status import Report
from corspolicy.sync.cache import Cache, Documents
from corspolicy.sync.connection import connect, last_id
from corspolicy.sync.wire import (
    CHANGES,
    DOCUMENTS,
    EPOCH,
    FORGET_SECONDS,
    PROCESS_PREFIX,
    PROCESSES,
    REPORT_SECONDS,
    REPORT_TTL_SECONDS,
    ZERO_ID,
    Entry,
    Envelope,
    Unreadable,
)

BLOCK_SECONDS = 2.0
# Longer than BLOCK: Redis answers within BLOCK even when there is nothing new, so that silence beyond this means a
# dead connection and is an error, never "nothing new".
SILENCE_SECONDS = BLOCK_SECONDS + 3.0
HANDSHAKE_SECONDS = 2.5
CLOSE_SECONDS = 0.5
REBUILD_POLL_SECONDS = 0.25
SPREAD_SECONDS = 0.5
REPORT_DEBOUNCE_SECONDS = 0.05
# KEYS: the report's, those of all processes. ARGV: report, time to live, id, seconds after which ids are forgotten.
# The time is Redis's own: a process whose clock is wrong would make it forget the others, or they it.
REPORT = """
local now = redis.call('TIME')[1]
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - ARGV[4])
"""
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 3.0
PAGE = 200
LARGE_DOCUMENT_BYTES = 65_536

logger = logging.getLogger("corspolicy")


class Feed:
    """Keeps one event loop's cache equal to what is published. `run` it as a task."""

    def __init__(self, redis_url: str, cache: Cache, report: Callable[[], Report]) -> None:
        self._url = redis_url
        self._cache = cache
        self._report = report
        self._reported_at = -REPORT_SECONDS
        self._has_news = True
        self._needs_snapshot = True
        self._confirmed_at: float | None = None
        self._heard_at = 0.0
        self._follows_since = 0.0
        self._spread_until = 0.0
        self.has_failed = False
        self.cursor = ZERO_ID
        self.connected = False
        self.changed = asyncio.Event()

    @property
    def age(self) -> float | None:
        """Seconds since what is held was last known to be current, or None if it never was."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    @property
    def epoch(self) -> str | None:
        """The epoch of what is held; None while something may be missing and a snapshot is due."""
        epoch = self._cache.epoch
        return None if self._needs_snapshot or epoch is None else epoch.decode()

    def restored(self, age: float) -> None:
        """Note that what is held comes from elsewhere and was current `age` seconds ago."""
        self._confirmed_at = time.monotonic() - age
        self._notify()

    async def run(self) -> None:
        """Follow until cancelled. Every failure is logged once and retried with full-jitter backoff."""
        failures = 0
        while True:
            redis = self.client()
            limit = BACKOFF_CAP_SECONDS
            self._follows_since = self._heard_at = time.monotonic()
            try:
                # What answers at all answers this soon; a line that swallows everything is not waited for any longer.
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    await redis.initialize()
                await self._begin(redis)
                while True:
                    await self._step(redis)
            except (RedisError, OSError) as error:
                if isinstance(error, TimeoutError):
                    # Silence has been waited for already: the next attempt is due.
                    limit = BACKOFF_BASE_SECONDS
                level = logging.WARNING if failures == 0 else logging.DEBUG
                logger.log(level, "lost Redis, going on with what is held: %s", str(error) or type(error).__name__)
            except Exception:
                # A feed that died of a bug would freeze the policies for ever without a word.
                logger.exception("the feed failed, going on with what is held")
            finally:
                self.connected = False
                with suppress(RedisError, OSError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await redis.aclose()
            self.has_failed = True
            self._notify()
            if self._heard_at - self._follows_since > BACKOFF_CAP_SECONDS:
                failures = 0  # That connection had lasted.
            await asyncio.sleep(random.uniform(0, min(limit, BACKOFF_BASE_SECONDS * 2**failures)))
            failures = min(failures + 1, 10)

    def client(self) -> Redis:
        """A Redis client with one connection of its own, not connected yet. Time-outs are those of its users."""
        return connect(self._url, single_connection_client=True, client_name="corspolicy")

    async def _answer(self, command: Awaitable[Any]) -> Any:
        """What Redis answers. Raises TimeoutError when it is silent for longer than BLOCK: the connection is dead."""
        async with asyncio.timeout(SILENCE_SECONDS):
            answer = await command
        self._heard_at = time.monotonic()
        return answer

    async def _begin(self, redis: Redis) -> None:
        if self.cursor == ZERO_ID:
            self.cursor = await self._answer(last_id(redis))
        # What was missed comes first, whatever else there is to find out.
        await self._follow(redis, None)
        await self._compare(redis)
        if not self.connected:
            self.connected = True
            logger.info("following Redis from %s", self.cursor.decode())

    async def _step(self, redis: Redis) -> None:
        if self._needs_snapshot and self._is_its_turn():
            await self._take_snapshot(redis)
        if self._has_news and time.monotonic() - self._reported_at >= REPORT_DEBOUNCE_SECONDS:
            await self._send_report(redis)
        if self._has_news:
            block = REPORT_DEBOUNCE_SECONDS
        else:
            block = REBUILD_POLL_SECONDS if self._needs_snapshot else BLOCK_SECONDS
        if not await self._follow(redis, block):
            await self._compare(redis)
            if not self._needs_snapshot:
                self._confirmed_at = time.monotonic()

        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._has_news = True

    async def _send_report(self, redis: Redis) -> None:
        """Say what was applied: soon after a change, so that a write can be known to be enforced, and regularly."""
        report = self._report()
        keys = (PROCESS_PREFIX + report.id, PROCESSES)
        values = (report.to_bytes(), REPORT_TTL_SECONDS, report.id, FORGET_SECONDS)
        try:
            await self._answer(redis.eval(REPORT, len(keys), *keys, *values))
        except ResponseError as error:
            # A replica, or a user who may only read: policies are followed all the same.
            logger.debug("this process can't report to Redis: %s", error)
        self._reported_at = time.monotonic()
        self._has_news = False

    def _is_its_turn(self) -> bool:
        """Whether to take a snapshot now. Processes that hold one already spread their next over some time.

        All of them learn of a new epoch at once; changes are applied meanwhile as ever.
        """
        if not self._cache.ready:
            return True
        if self._spread_until == 0.0:
            self._spread_until = time.monotonic() + random.uniform(0, SPREAD_SECONDS)
        return time.monotonic() >= self._spread_until

    async def _compare(self, redis: Redis) -> None:
        """Where nothing new comes: see whether that is so, or the epoch is another, or the stream was cut off."""
        if await self._answer(redis.get(EPOCH)) != self._cache.epoch or (
            await self._answer(last_id(redis)) != self.cursor and not await self._follow(redis, None)
        ):
            self._needs_snapshot = True

    async def _take_snapshot(self, redis: Redis) -> None:
        epoch = await self._answer(redis.get(EPOCH))
        if epoch is None:
            return
        # The tail first: what is written while the hash is read is then in the stream behind the cursor.
        self.cursor = await self._answer(last_id(redis))
        self._needs_snapshot = False
        is_done = False
        try:
            is_complete = await self._answer(redis.hlen(DOCUMENTS)) <= self._cache.capacity
            read = self._read_all if is_complete else self._read_held
            fresh = await read(redis, is_same_epoch=epoch == self._cache.epoch)
            is_done = await self._answer(redis.get(EPOCH)) == epoch
        finally:
            if not is_done:
                self._needs_snapshot = True
        if is_done:
            self._cache.replace(fresh, epoch, is_complete=is_complete)
            self._spread_until = 0.0
            logger.info("snapshot of %d tenants at revision %d", len(fresh), self._cache.revision)
            self._confirmed_at = time.monotonic()
            self._notify()

    async def _read_all(self, redis: Redis, *, is_same_epoch: bool) -> Documents:
        fresh = Documents()
        position: int | None = None
        while position != 0:
            position, page = await self._answer(redis.hscan(DOCUMENTS, cursor=position or 0, count=PAGE))
            for name, value in page.items():
                self._collect(_text(name), value, fresh, is_same_epoch=is_same_epoch)
            await self._follow(redis, None, fresh)
        return fresh

    async def _read_held(self, redis: Redis, *, is_same_epoch: bool) -> Documents:
        """Where there are more tenants than are held: those that are, and those that are being fetched."""
        fresh = Documents()
        names = list(dict.fromkeys((PLATFORM, *self._cache.tenants(), *self._cache.awaited)))
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            for name, value in zip(page, await self._answer(redis.hmget(DOCUMENTS, page)), strict=True):
                if value is not None:
                    self._collect(name, value, fresh, is_same_epoch=is_same_epoch)
            await self._follow(redis, None, fresh)
        return fresh

    def _collect(self, tenant: str, value: bytes, fresh: Documents, *, is_same_epoch: bool) -> None:
        held = self._cache.held(tenant)
        envelope = self._cache.envelope(tenant, value)
        if tenant in fresh and fresh[tenant].revision >= envelope.revision:
            return
        # Within an epoch revisions only grow. A new epoch is the truth of another Redis, whatever is held; mostly that.
        if held is not None and (held.envelope == envelope or (is_same_epoch and held.revision >= envelope.revision)):
            fresh[tenant] = held
        else:
            fresh[tenant] = self._cache.next(tenant, envelope)

    async def _follow(self, redis: Redis, block: float | None, snapshot: Documents | None = None) -> bool:
        """Read on from the cursor, waiting up to `block` seconds; whether anything came.

        What comes while a snapshot is being read is applied at once, and goes into the snapshot as well.
        """
        milliseconds = None if block is None else int(block * 1000)
        answer = await self._answer(redis.xread({CHANGES: self.cursor}, count=PAGE, block=milliseconds))
        if not answer:
            return False
        for entry_id, fields in answer[0][1]:
            entry = Entry.from_fields(entry_id, fields)
            if entry.previous != self.cursor or (entry.epoch is not None and entry.epoch != self._cache.epoch):
                self._needs_snapshot = True
            if entry.tenant is not None and entry.envelope is not None:
                await self._apply(_text(entry.tenant), entry.envelope, snapshot)
            self.cursor = entry_id
        if not self._needs_snapshot:
            self._confirmed_at = time.monotonic()
        self._notify()
        return True

    async def _apply(self, tenant: str, value: bytes, snapshot: Documents | None) -> None:
        if snapshot is None and not self._cache.follows(tenant):
            self._cache.forget_unknown(tenant)
            return
        revision = 0
        try:
            envelope = Envelope.from_bytes(value)
            revision = envelope.revision
            is_newer = self._cache.is_newer(tenant, revision)
            # Apart: in a new epoch, a revision can be news to the snapshot and yet lower than the one held.
            is_news = snapshot is not None and (tenant not in snapshot or revision > snapshot[tenant].revision)
            if not is_newer and not is_news:
                return
            held = self._cache.next(tenant, envelope)
            if len(value) > LARGE_DOCUMENT_BYTES:
                await asyncio.to_thread(held.read)
            else:
                held.read()
        except (Unreadable, UnreadableDocument) as error:
            self._cache.reject(tenant, revision, str(error))
            return
        if is_newer:
            self._cache.apply(tenant, held)
        if snapshot is not None and is_news:
            snapshot[tenant] = held

    def _notify(self) -> None:
        self._has_news = True
        self.changed.set()
        self.changed = asyncio.Event()


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
