"""Publishes every committed change to Redis: in order per tenant, at least once, by one leader at a time.

The leader holds an advisory lock on a connection of its own and does all its work in the database over that
connection, so that whoever loses the lock can mark nothing. Redis protects itself from a leader that does not know
yet that it is none: it refuses an earlier term and a revision that is not higher than the one held.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from corspolicy.sync.wire import CHANGES, DOCUMENTS, EPOCH, TERM, Envelope
from policy_service.auth.callers import EVERYTHING
from policy_service.database import CONNECT_TIMEOUT_SECONDS, DATABASE_ERRORS, NOTIFY_CHANNEL
from policy_service.documents.model import StoredDocument
from policy_service.documents.published import to_envelope
from policy_service.models import TERMS, Publication
from policy_service.publisher import store
from policy_service.publisher.store import history_of, is_held

LEADER_LOCK = 0x636F7273  # "cors"
STANDBY_SECONDS = 1.0
CHECK_SECONDS = 1.0
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 5.0
# A lead that ends sooner counts as another failure, so that a lasting fault is not met at full speed.
LASTING_SECONDS = 10.0
BATCH = 200
# PostgreSQL must notice that a leader's machine is gone, to give its lock to another.
KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

# KEYS: term. ARGV: term. What a later leader has written anew takes nothing from an earlier one.
_CHECK_TERM = """
if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then
  return redis.error_reply('EARLIERTERM a later publisher leads')
end
"""

# KEYS: term, documents, changes. ARGV: term, stream length (0: do not announce), then tenant and envelope in turn.
_WRITE = (
    _CHECK_TERM
    + """
local previous = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
previous = previous[1] and previous[1][1] or '0-0'
for i = 3, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[2], ARGV[i])
  local held_revision = held and tonumber(string.match(held, '^%d+') or '')
  if not held_revision or held_revision < tonumber(string.match(ARGV[i + 1], '^%d+')) then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    if ARGV[2] ~= '0' then
      previous = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*',
        'tenant', ARGV[i], 'envelope', ARGV[i + 1], 'previous', previous)
    end
  end
end
return redis.status_reply('OK')
"""
)

# KEYS: term, documents, epoch. ARGV: term. Without an epoch, clients keep what they hold.
_BEGIN_EPOCH = (
    _CHECK_TERM
    + """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('UNLINK', KEYS[2])
return redis.status_reply('OK')
"""
)

# KEYS: term, changes, epoch. ARGV: term, stream length, epoch. The term that the epoch was begun with is still there,
# or Redis was emptied since and lacks documents that were written.
_END_EPOCH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EMPTIED or taken over by a later publisher: write everything anew')
end
local previous = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
previous = previous[1] and previous[1][1] or '0-0'
redis.call('SET', KEYS[3], ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'epoch', ARGV[3], 'previous', previous)
return redis.status_reply('OK')
"""

logger = logging.getLogger(__name__)


class Publisher:
    """Leads or stands by. `run` it as a task; `state` says what it does, for people."""

    def __init__(self, database_url: str, redis: Redis, stream_length: int) -> None:
        self._engine = create_async_engine(
            database_url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": 30,
                "server_settings": {**KEEPALIVE, "application_name": "corspolicy publisher"},
            },
        )
        self._redis = redis
        self._write = self._redis.register_script(_WRITE)
        self._begin_epoch = self._redis.register_script(_BEGIN_EPOCH)
        self._end_epoch = self._redis.register_script(_END_EPOCH)
        self._stream_length = stream_length
        self._wake = asyncio.Event()
        self._term = 0
        self.state = "starting"

    async def run(self) -> None:
        """Publish until cancelled. Every failure gives up the lead and is retried with full-jitter backoff."""
        failures = 0
        try:
            while True:
                began_at = time.monotonic()
                try:
                    async with self._engine.connect() as connection:
                        await self._wait_for_lead(connection)
                        began_at = time.monotonic()
                        await self._lead(connection)
                        return
                except (*DATABASE_ERRORS, RedisError) as error:
                    self.state = f"waiting: {type(error).__name__}"
                    level = logging.WARNING if failures == 0 else logging.DEBUG
                    logger.log(level, "publishing is interrupted, nothing is lost: %s", error)
                except Exception:
                    # Dead of a bug, it would leave every change unpublished without a word.
                    self.state = "failing"
                    logger.exception("the publisher failed; it tries again")
                if time.monotonic() - began_at > LASTING_SECONDS:
                    failures = 0
                await asyncio.sleep(random.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**failures)))
                failures = min(failures + 1, 10)
        finally:
            self.state = "stopped"
            await self._engine.dispose()

    async def _wait_for_lead(self, connection: AsyncConnection) -> None:
        while not await connection.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK))):
            self.state = "standing by"
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(self, connection: AsyncConnection) -> None:
        self._term = await self._next_term(connection)
        await self._listen(connection)
        self.state = "leading"
        logger.info("leading, term %d", self._term)
        if not await self._is_published(connection):
            await self._rebuild(connection)
        task = asyncio.current_task()
        # redis-py sends with asyncio.wait_for, which can swallow a cancellation before Python 3.12.
        checked_at = time.monotonic()
        while task is not None and not task.cancelling():
            self._wake.clear()
            if time.monotonic() - checked_at >= CHECK_SECONDS:
                if not await self._is_published(connection):
                    await self._rebuild(connection)
                checked_at = time.monotonic()
            if await self._publish_batch(connection):
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()

    async def _next_term(self, connection: AsyncConnection) -> int:
        term: int = await connection.scalar(select(TERMS.next_value())) or 0
        known = int(await self._redis.get(TERM) or 0)
        if known >= term:
            # The lock is ours, so this Redis was written by another database, or ours is an older copy: take over.
            term = await connection.scalar(select(func.setval("publisher_terms", known + 1))) or 0
        return term

    async def _listen(self, connection: AsyncConnection) -> None:
        self._wake = asyncio.Event()
        wake = self._wake
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        await driver.add_listener(NOTIFY_CHANNEL, lambda *_: wake.set())
        # A connection that dies wakes the leader too: its next query then says so.
        driver.add_termination_listener(lambda *_: wake.set())

    async def _publish_batch(self, connection: AsyncConnection) -> bool:
        """Publish the first unpublished changes; whether there were any."""
        batch = await store.unpublished(connection, BATCH)
        if not batch:
            return False
        envelopes = ((change.tenant, _envelope(change.tenant, change.revision, change.after)) for change in batch)
        await self._write_documents(envelopes, announce=True)
        await store.mark_published(connection, [change.revision for change in batch])
        return True

    async def _write_documents(self, envelopes: Iterable[tuple[str, bytes]], *, announce: bool) -> None:
        length = self._stream_length if announce else 0
        arguments: list[Any] = [self._term, length, *(part for envelope in envelopes for part in envelope)]
        await self._write(keys=[TERM, DOCUMENTS, CHANGES], args=arguments)

    async def _is_published(self, connection: AsyncConnection) -> bool:
        """Whether Redis is the one that was written to last, and still has what was written."""
        publication = (await connection.execute(select(Publication.epoch, Publication.redis_history))).first()
        if publication is None:
            return False
        return await is_held(self._redis, publication.epoch, publication.redis_history)

    async def _rebuild(self, connection: AsyncConnection) -> None:
        """Write all documents anew, changes in between; the epoch last, which makes them a snapshot."""
        self.state = "rebuilding"
        history = await history_of(self._redis)
        logger.info("Redis does not hold what was published: writing everything to it")
        await self._begin_epoch(keys=[TERM, DOCUMENTS, EPOCH], args=[self._term])
        count, last = 0, ""
        while batch := await store.documents(connection, EVERYTHING, last, BATCH):
            await self._write_documents(
                [(slug, _envelope(slug, revision, document)) for slug, revision, document in batch], announce=False
            )
            count, last = count + len(batch), batch[-1][0]
            self.state = f"rebuilding: {count} tenants written"
            await self._publish_batch(connection)
        epoch = secrets.token_hex(8)
        await self._end_epoch(keys=[TERM, CHANGES, EPOCH], args=[self._term, self._stream_length, epoch])
        values = {"id": 1, "epoch": epoch, "redis_history": history}
        statement = insert(Publication).values(values)
        await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
        self.state = "leading"
        logger.info("wrote %d tenants to Redis, epoch %s", count, epoch)


def _envelope(tenant: str, revision: int, stored: dict[str, Any] | None) -> bytes:
    try:
        document = None if stored is None else StoredDocument.model_validate(stored)
        return to_envelope(tenant, revision, document)
    except ValueError:
        # It must not hold up all others. Clients refuse it, keep what they have of this tenant, and report that.
        logger.exception("the document of tenant %s at revision %d can't be read", tenant, revision)
        return Envelope(revision, b"{}").to_bytes()
