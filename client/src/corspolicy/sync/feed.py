"""Follows the published documents: a snapshot once, then the stream of changes by cursor.

The feed keeps a position, not a subscription: after any break it goes on where it was, and where that is not possible
(the stream was trimmed past the cursor, Redis was rebuilt) it takes a new snapshot. Until a snapshot is complete, the
cached documents stay.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from corspolicy.sync.cache import Cache
from corspolicy.sync.changes import Changes
from corspolicy.sync.connection import connector, last_id
from corspolicy.sync.logs import logger
from corspolicy.sync.pace import Pace
from corspolicy.sync.reporter import DEBOUNCE_SECONDS, Reporter
from corspolicy.sync.signatures import InvalidSignature, State, Verifier
from corspolicy.sync.snapshot import Snapshot
from corspolicy.sync.wire import DATABASE_FIELD, EPOCH_FIELD, STATE_FIELD, ZERO_ID, Keys, read_epoch

BLOCK_SECONDS = 2.0
# Longer than BLOCK: Redis answers within BLOCK even when there is nothing new, so that silence beyond this means a
# dead connection and is an error, never "nothing new".
SILENCE_SECONDS = BLOCK_SECONDS + 3.0
HANDSHAKE_SECONDS = 2.5
CLOSE_SECONDS = 0.5
REBUILD_POLL_SECONDS = 0.25
SPREAD_SECONDS = 0.5
# Between snapshots that are not what is signed: each costs as much as one that is.
REJECTED_SECONDS = 5.0
PROOFS = 5
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 3.0


class Feed:
    """Keeps one event loop's cache equal to what is published. `run` it as a task."""

    def __init__(self, redis_url: str, keys: Keys, cache: Cache, reporter: Reporter) -> None:
        self._connect = connector(redis_url, keys, single_connection_client=True)
        self._keys = keys
        self._cache = cache
        self._reporter = reporter
        self._pace = Pace()
        self._changes = Changes(keys, cache, self._pace)
        self._needs_snapshot = True
        self._must_resync = False
        self._was_whole = True
        self._was_signed = True
        self._state: State | None = None
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._follows_since = 0.0
        self._spread_until = 0.0
        self._most_read = 0
        self.progressed_at = time.monotonic()
        """When a first snapshot was last seen to come closer, by the monotonic clock."""
        self.has_failed = False
        self.database: str | None = None
        """The id of the database that Redis was last seen to be written from, where it is known."""
        self.connected = False
        self.changed = asyncio.Event()

    @property
    def age(self) -> float | None:
        """Seconds since the cached documents were last known to be current, or None if they never were."""
        confirmed_at = self._cache.confirmed_at
        return None if confirmed_at is None else time.monotonic() - confirmed_at

    @property
    def cursor(self) -> bytes:
        """The id of the last entry of the stream that was read."""
        return self._changes.cursor

    @property
    def epoch(self) -> str | None:
        """The epoch of the cached documents; None while something may be missing and a snapshot is due."""
        epoch = self._cache.epoch
        return None if self._needs_snapshot or epoch is None else epoch.decode()

    def notify(self) -> None:
        """Report soon, and wake everyone who waits for a change."""
        self._reporter.has_news = True
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled. Every failure is logged once and retried with full-jitter backoff."""
        failures = 0
        while True:
            redis = self.client()
            limit = BACKOFF_CAP_SECONDS
            self._follows_since = self._heard_at = time.monotonic()
            self._pace.connected()
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
                    self._pace.failed()
                level = logging.WARNING if failures == 0 else logging.DEBUG
                reason = str(error) or type(error).__name__
                logger.log(level, "lost Redis, going on with the cached policies: %s", reason)
            except Exception:
                # A feed that died of a bug would freeze the policies forever without a word.
                logger.exception("the feed failed, going on with the cached policies")
            finally:
                self.connected = False
                with suppress(RedisError, OSError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await redis.aclose()
            self.has_failed = True
            self.notify()
            if self._heard_at - self._follows_since > BACKOFF_CAP_SECONDS:
                failures = 0  # That connection had lasted.
            await asyncio.sleep(random.uniform(0, min(limit, BACKOFF_BASE_SECONDS * 2**failures)))
            failures = min(failures + 1, 10)

    def client(self) -> Redis:
        """A Redis client with one connection of its own, not connected yet. Time-outs are those of its users."""
        return self._connect()

    async def _answer(self, command: Awaitable[Any]) -> Any:
        """What Redis answers. Raises TimeoutError when it is silent for longer than BLOCK: the connection is dead."""
        self._asked_at = time.monotonic()
        async with asyncio.timeout(SILENCE_SECONDS):
            answer = await command
        self._heard_at = time.monotonic()
        self._pace.answered(self._heard_at - self._asked_at)
        return answer

    async def _begin(self, redis: Redis) -> None:
        # For those who list connections; a user may be denied it.
        with suppress(ResponseError):
            await self._answer(redis.client_setname(self._reporter.name))
        if self._cache.ready:
            if self.cursor == ZERO_ID:
                self._changes.cursor = await self._last_id(redis)
            # What was missed comes first, whatever else there is to find out.
            await self._follow(redis, None)
            await self._compare(redis)
        else:
            # Known before it serves: a write meanwhile waits for this process.
            await self._send_report(redis)
        if not self.connected:
            self.connected = True
            self.notify()
            logger.info("connected to Redis")

    async def _step(self, redis: Redis) -> None:
        takes_snapshot = self._needs_snapshot and self._is_its_turn()
        # That something may be missing is said before the snapshot, which may take long.
        if self._reporter.is_due or (takes_snapshot and self._reporter.has_news):
            await self._send_report(redis)
        if takes_snapshot:
            await self._take_snapshot(redis)
        if self._reporter.has_news:
            block = DEBOUNCE_SECONDS
        else:
            block = REBUILD_POLL_SECONDS if self._needs_snapshot else BLOCK_SECONDS
        if not await self._follow(redis, block):
            await self._compare(redis)

    async def _send_report(self, redis: Redis) -> None:
        if await self._reporter.send(redis, self._answer):
            logger.warning("this process holds other policies than are published: taking a new snapshot")
            self._needs_snapshot = self._must_resync = True

    def _is_its_turn(self) -> bool:
        """Whether to take a snapshot now. Processes that have one already spread their next over some time.

        All of them learn of a new epoch at once; changes are applied meanwhile as ever.
        """
        if self._spread_until == 0.0:
            if not self._cache.ready:
                return True
            self._spread_until = time.monotonic() + random.uniform(0, SPREAD_SECONDS)
        return time.monotonic() >= self._spread_until

    async def _last_id(self, redis: Redis) -> bytes:
        last: bytes = await self._answer(last_id(redis, self._keys))
        return last

    async def _read_database(self, redis: Redis) -> None:
        with suppress(ResponseError):
            value = await self._answer(redis.hget(self._keys.identity, DATABASE_FIELD.decode()))
            self.database = None if value is None else value.decode("utf-8", "replace")

    async def _read_epoch(self, redis: Redis) -> bytes | None:
        """The epoch of a whole snapshot; None where there is none: then the cached documents stay."""
        try:
            inside = read_epoch(await self._answer(redis.hget(self._keys.documents, EPOCH_FIELD.decode())))
            outside = read_epoch(await self._answer(redis.get(self._keys.epoch)))
            why = "its epoch is missing, or not that of its documents"
        except NoPermissionError:
            raise
        except ResponseError as error:
            inside, outside, why = None, None, str(error)
        is_whole = inside is not None and inside == outside
        if is_whole and self._cache.verifier is not None:
            self._state, why = await self._read_state(redis, self._cache.verifier)
            is_whole = self._state is not None and self._state.epoch.encode() == inside
        if self._was_whole and not is_whole:
            # Before the first snapshot, a publisher that starts at the same time is no reason to worry.
            level = logging.WARNING if self._cache.ready else logging.INFO
            logger.log(level, "Redis has no complete snapshot, keeping the cached policies: %s", why)
        self._was_whole = is_whole
        return inside if is_whole else None

    async def _read_state(self, redis: Redis, verifier: Verifier) -> tuple[State | None, str]:
        """What the publisher has signed last, or why that does not count."""
        try:
            return verifier.read_state(
                await self._answer(redis.hget(self._keys.identity, STATE_FIELD.decode()))
            ), "its signed state is of another epoch"
        except (InvalidSignature, ResponseError) as error:
            return None, str(error)

    async def _compare(self, redis: Redis) -> None:
        """Where nothing new comes: see whether that is so, or the epoch is another, or the stream was trimmed."""
        epoch = await self._read_epoch(redis)
        asked_at = self._asked_at
        if epoch is None or epoch != self._cache.epoch:
            self._needs_snapshot = True
        elif await self._last_id(redis) == self.cursor:
            if self._state is not None and not self._cache.is_as_signed(self._state):
                self._needs_snapshot = True
            self._confirm(asked_at)
        elif not await self._follow(redis, None):
            self._needs_snapshot = True

    def _confirm(self, asked_at: float) -> None:
        """Note that nothing was missing when Redis was asked, which may be long ago for a process that was paused."""
        if not self._needs_snapshot:
            self._cache.confirm(asked_at)

    async def _take_snapshot(self, redis: Redis) -> None:
        epoch = await self._read_epoch(redis)
        if epoch is None:
            await self._read_database(redis)
            if self.cursor == ZERO_ID:
                self._changes.cursor = await self._last_id(redis)
            return
        # The tail first: what is written while the hash is read is then in the stream behind the cursor.
        self._changes.cursor = await self._last_id(redis)
        gaps, asked_at = self._changes.gaps, self._asked_at
        must_resync, self._must_resync = self._must_resync, False
        trusts_cache = epoch == self._cache.epoch and not must_resync
        snapshot = Snapshot(self._cache, self._keys, self._pace, trusts_cache=trusts_cache)
        async for _ in snapshot.pages(redis, self._answer):
            if len(snapshot.documents) > self._most_read:
                # Further than ever: one that starts again and again makes no progress.
                self._most_read = len(snapshot.documents)
                self.progressed_at = time.monotonic()
                self._wake()
            await self._follow(redis, None, snapshot)
            if self._changes.is_at_end:
                asked_at = self._asked_at
            if self._reporter.is_due:
                await self._send_report(redis)
        if await self._read_epoch(redis) != epoch:
            self._must_resync |= must_resync
            return
        if not await self._is_as_signed(redis, snapshot):
            self._must_resync |= must_resync
            self._spread_until = time.monotonic() + random.uniform(0, REJECTED_SECONDS)
            return
        await self._read_database(redis)
        self._needs_snapshot = self._must_resync or self._changes.gaps != gaps
        self._cache.replace(snapshot.documents, epoch, is_complete=snapshot.is_complete)
        self._spread_until = 0.0
        self._cache.confirm(asked_at)
        logger.info("snapshot of %d tenants at revision %d", len(self._cache), self._cache.revision)
        self.notify()

    async def _is_as_signed(self, redis: Redis, snapshot: Snapshot) -> bool:
        """Whether a snapshot is what the publisher has signed; where nothing is signed, every one is."""
        verifier = self._cache.verifier
        if verifier is None:
            return True
        for _ in range(PROOFS):
            if await self._read_epoch(redis) is None or self._state is None:
                return False
            # All changes up to that state are in the stream before it; one that comes in between belongs to the next.
            await self._follow(redis, None, snapshot)
            while not self._changes.is_at_end:
                await self._follow(redis, None, snapshot)
            if verifier.prove(self._state, snapshot.documents.sum if snapshot.is_complete else None):
                self._was_signed = True
                return True
        level = logging.ERROR if self._was_signed else logging.DEBUG
        logger.log(level, "Redis does not hold what the publisher has signed, keeping the cached policies")
        self._was_signed = False
        return False

    async def _follow(self, redis: Redis, block: float | None, snapshot: Snapshot | None = None) -> bool:
        """Apply what has come since, waiting up to `block` seconds for it; whether anything came."""
        gaps = self._changes.gaps
        asked_at = time.monotonic()
        if not await self._changes.read(redis, self._answer, block, snapshot):
            return False
        if self._changes.gaps != gaps:
            self._needs_snapshot = True
        if self._changes.is_at_end:
            self._confirm(asked_at)
        self.notify()
        return True
