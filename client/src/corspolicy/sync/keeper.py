"""Keeps the last-known-good file equal to what is cached, and starts from it where Redis is out of reach."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from corspolicy.sync import last_known_good
from corspolicy.sync.cache import Cache
from corspolicy.sync.documents import CachedDocument
from corspolicy.sync.feed import Feed
from corspolicy.sync.last_known_good import Head, LastKnownGood
from corspolicy.sync.logs import logger
from corspolicy.sync.signatures import InvalidSignature
from corspolicy.sync.threads import in_thread
from corspolicy.sync.wire import Envelope

# A removal must not come back with a restart, so that a change is written soon; and a large file takes its time, of
# which most must be left to the service.
PAUSE_SECONDS = 0.5
SHARE = 4
RETRY_SECONDS = 5.0
CONFIRM_SECONDS = 30.0
HEAD_SECONDS = 0.5


class Keeper:
    """The file of one event loop."""

    def __init__(self, path: Path, namespace: str, cache: Cache, feed: Feed) -> None:
        self._path = path
        self._namespace = namespace
        self._cache = cache
        self._feed = feed
        self._saved: object = None
        self._saved_at = 0.0
        # A write that was given up goes on, and must not end after a later one.
        self._lock = threading.Lock()
        self._has_warned = False

    async def restore(self) -> None:
        """Cache what the file has, unless a snapshot comes first."""
        try:
            found = await in_thread(lambda: last_known_good.read(self._path))
        except (OSError, last_known_good.UnusableFile) as error:
            logger.warning("ignoring the last-known-good file %s: %s", self._path, error)
            return
        if self._cache.ready:
            return
        why = self._mismatch(found.head)
        if why is not None:
            logger.error("ignoring the last-known-good file %s: %s", self._path, why)
            return
        why = self._apply(found)
        if why is not None:
            logger.error("ignoring the last-known-good file %s: %s", self._path, why)
            return
        logger.warning("Redis is out of reach: going on with %d tenants of %s", len(self._cache), self._path)

    def _mismatch(self, head: Head) -> str | None:
        """Why the file is of other policies than this process is to apply."""
        if head.namespace != self._namespace:
            return f"it is of namespace {head.namespace}, not {self._namespace}"
        known = self._feed.database
        if None not in (head.database, known) and head.database != known:
            return f"it is of database {head.database}, and Redis of {known}"
        return None

    def _apply(self, found: LastKnownGood) -> str | None:
        """Cache what was read; why not, where it is not what the publisher has signed."""
        fresh = self._cache.no_documents()
        for tenant, envelope in found.envelopes.items():
            fresh.put(tenant, CachedDocument(tenant, envelope))
        if (verifier := self._cache.verifier) is not None:
            try:
                state = verifier.read_state((found.head.state or "").encode())
            except InvalidSignature as error:
                return str(error)
            if not verifier.prove(state, fresh.sum if found.head.complete else None):
                return "it is not what the publisher has signed"
        self._cache.replace(fresh, None, is_complete=found.head.complete)
        self._cache.confirm(None if found.age is None else time.monotonic() - found.age)
        self._feed.notify()
        return None

    async def note_age(self) -> None:
        """Take no older signed state from Redis than the file has."""
        verifier = self._cache.verifier
        if verifier is None:
            return
        with suppress(OSError, TimeoutError, InvalidSignature):
            async with asyncio.timeout(HEAD_SECONDS):
                head = await in_thread(lambda: last_known_good.read_head(self._path))
            if head is not None:
                verifier.read_state((head.state or "").encode())

    @property
    def is_due(self) -> bool:
        """Whether there is something to write, and it is known to be current."""
        feed, age = self._feed, self._feed.age
        if not feed.connected or feed.epoch is None or age is None or age > CONFIRM_SECONDS:
            return False
        verifier = self._cache.verifier
        if verifier is not None and (verifier.proven is None or not self._cache.is_as_signed(verifier.proven)):
            return False
        return self._cache.version is not self._saved or time.monotonic() - self._saved_at > CONFIRM_SECONDS

    async def run(self) -> None:
        """Write the file soon after each change, and confirm it while there are none, until cancelled."""
        with suppress(OSError):
            await in_thread(lambda: last_known_good.remove_abandoned(self._path))
        while True:
            if self.is_due:
                began_at = time.monotonic()
                pause = PAUSE_SECONDS if await self.save() else RETRY_SECONDS
                await asyncio.sleep(max(pause, SHARE * (time.monotonic() - began_at)))
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CONFIRM_SECONDS):
                        await self._feed.changed.wait()

    async def save(self) -> bool:
        """Write what is cached, or confirm the file if it has that already. Errors are logged; whether it worked."""
        version, head, envelopes = self._cache.version, self._describe(), self._cache.envelopes()
        try:
            await in_thread(lambda: self._write(head, envelopes))
        except OSError as error:
            level = logging.DEBUG if self._has_warned else logging.WARNING
            logger.log(level, "can't write the last-known-good file %s: %s", self._path, error)
            self._has_warned = True
            return False
        self._saved, self._saved_at, self._has_warned = version, time.monotonic(), False
        return True

    def _describe(self) -> Head:
        cache, feed = self._cache, self._feed
        cursor, digest = feed.cursor.decode(), f"{cache.digest:016x}"
        proven = None if cache.verifier is None else cache.verifier.proven
        state = None if proven is None else proven.signed.decode()
        return Head(
            self._namespace, feed.database, feed.epoch, cursor, cache.revision, digest, cache.is_complete, state
        )

    def _write(self, head: Head, envelopes: Iterable[tuple[str, Envelope]]) -> None:
        """In a thread. Several processes may share the file: each change is written once, and nothing older."""
        with self._lock:
            found = last_known_good.read_head(self._path)
            if found is not None and found.covers(head):
                last_known_good.confirm(self._path)
            else:
                last_known_good.write(self._path, head, envelopes)
