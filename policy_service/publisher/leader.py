"""Publishes every committed change to Redis: in order per tenant, at least once, by one leader at a time.

The leader holds an advisory lock on a connection of its own and does all its work in the database over that
connection, so that a leader that loses the lock can mark nothing. Redis protects itself from a leader that does not
know yet that it is none: it rejects an earlier term and a revision that is not higher than the one held.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncConnection

from corspolicy.sync.wire import Keys
from policy_service.database import DATABASE_ERRORS, NOTIFY_CHANNEL
from policy_service.publisher import store
from policy_service.publisher.connection import (
    TransactionPooling,
    create_leader_engine,
    end_frozen_leader,
    prepare_session,
    require_lock,
    try_lock,
)
from policy_service.publisher.eviction import eviction_problem
from policy_service.publisher.lead import Lead
from policy_service.publisher.scripts import LaterTerm, Lost, OtherDatabase
from policy_service.publisher.signing import Signer

STANDBY_SECONDS = 1.0
CHECK_SECONDS = 1.0
EVICTION_CHECK_SECONDS = 30.0
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 5.0
# A lead that ends sooner counts as another failure, so that a lasting fault is not met at full speed.
LASTING_SECONDS = 10.0

_TWO_COPIES = (
    "Another publisher has taken over this Redis although this one leads: two copies of one database publish to it. "
    "Nothing is published from here. Stop the other, or give it another CORSPOLICY_NAMESPACE, and then run "
    "`corspolicy takeover` with the settings of this one."
)

logger = logging.getLogger(__name__)


class Publisher:
    """Leads or stands by. `run` it as a task; `state` says what it does, for people."""

    def __init__(
        self, database_url: str, redis: Redis, keys: Keys, stream_length: int, signer: Signer | None = None
    ) -> None:
        """`database_url` leads to PostgreSQL itself: a session is kept on it."""
        self._signer = signer
        self._engine = create_leader_engine(database_url)
        self._redis = redis
        self._keys = keys
        self._stream_length = stream_length
        self._wake = asyncio.Event()
        self._was_away = False
        self._blocked = ""
        self._eviction: str | None = None
        self.state = "starting"
        self.is_leading = False
        """Whether it holds the leader's lock: then nobody knows better than it what keeps changes from Redis."""

    @property
    def problems(self) -> list[str]:
        """What has to be changed by people, in their words."""
        return [problem for problem in (self._blocked, self._eviction) if problem]

    async def run(self) -> None:
        """Publish until cancelled. Every failure gives up the lead and is retried with full-jitter backoff."""
        failures = 0
        try:
            while True:
                began_at = time.monotonic()
                try:
                    async with self._engine.connect() as connection:
                        await prepare_session(self._engine, connection)
                        await self._wait_for_lead(connection)
                        began_at = time.monotonic()
                        self.is_leading = True
                        await self._lead(connection)
                        return
                except TransactionPooling as error:
                    self._block(str(error))
                except (*DATABASE_ERRORS, RedisError, Lost) as error:
                    self._was_away |= isinstance(error, RedisError)
                    self.state = f"waiting: {type(error).__name__}"
                    level = logging.WARNING if failures == 0 else logging.DEBUG
                    logger.log(level, "publishing is interrupted, nothing is lost: %s", error)
                except Exception:
                    # Dead of a bug, it would leave every change unpublished without a word.
                    self.state = "failing"
                    logger.exception("the publisher failed; it tries again")
                self.is_leading = False
                if time.monotonic() - began_at > LASTING_SECONDS:
                    failures = 0
                await asyncio.sleep(random.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**failures)))
                failures = min(failures + 1, 10)
        finally:
            self.state, self.is_leading = "stopped", False
            await self._engine.dispose()

    def _block(self, problem: str) -> None:
        """Note what keeps this publisher from publishing until somebody changes it."""
        self.state = "blocked"
        if problem != self._blocked:
            logger.error("%s", problem)
        self._blocked = problem

    async def _wait_for_lead(self, connection: AsyncConnection) -> None:
        while not await try_lock(connection):
            self.state, self._blocked, self._eviction = "standing by", "", None
            await end_frozen_leader(connection)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(self, connection: AsyncConnection) -> None:
        await self._listen(connection)
        lead = Lead(connection, self._redis, self._keys, self._stream_length, self._tell, self._signer)
        task = asyncio.current_task()
        # redis-py sends with asyncio.wait_for, which can swallow a cancellation before Python 3.12.
        while task is not None and not task.cancelling():
            try:
                await lead.begin(was_away=self._was_away)
                self._tell("leading")
                self._was_away, self._blocked = False, ""
                logger.info("leading, term %d", lead.term)
                await self._publish(connection, lead)
            except OtherDatabase as error:
                await require_lock(connection)
                self._block(str(error))
                await store.note_problems(connection, self.problems)
                await asyncio.sleep(CHECK_SECONDS)
            except LaterTerm:
                await require_lock(connection)
                self._block(_TWO_COPIES)
                await store.note_problems(connection, self.problems)
                await self._wait_for_takeover(lead)

    async def _publish(self, connection: AsyncConnection, lead: Lead) -> None:
        """Publish until cancelled, or until Redis turns out to be another's."""
        task = asyncio.current_task()
        # Not at once: what was published and is not marked yet would be taken for what this database does not know.
        checked_at = time.monotonic()
        eviction_checked_at = -EVICTION_CHECK_SECONDS
        while task is not None and not task.cancelling():
            self._wake.clear()
            if time.monotonic() - eviction_checked_at >= EVICTION_CHECK_SECONDS:
                self._eviction = await eviction_problem(self._redis, self._eviction)
                eviction_checked_at = time.monotonic()
            if time.monotonic() - checked_at >= CHECK_SECONDS:
                await require_lock(connection)
                await lead.check()
                await store.note_problems(connection, self.problems)
                checked_at = time.monotonic()
            try:
                is_busy = await lead.publish_batch()
            except Lost as loss:
                await lead.rebuild(str(loss))
                continue
            if not is_busy:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await self._wake.wait()

    async def _wait_for_takeover(self, lead: Lead) -> None:
        """Keep the lock, so that no standby of this database fights for Redis, until it is this database's alone."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if await lead.is_alone():
                return

    def _tell(self, state: str) -> None:
        self.state = state

    async def _listen(self, connection: AsyncConnection) -> None:
        self._wake = asyncio.Event()
        wake = self._wake
        raw: Any = await connection.get_raw_connection()
        driver = raw.driver_connection
        await driver.add_listener(NOTIFY_CHANNEL, lambda *_: wake.set())
        # A connection that dies wakes the leader too: its next query then says so.
        driver.add_termination_listener(lambda *_: wake.set())
