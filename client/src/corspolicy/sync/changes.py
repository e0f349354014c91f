"""Reads the stream of changes from a cursor on, and applies them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from redis.asyncio import Redis

from corspolicy.core.document import UnreadableDocument
from corspolicy.core.names import is_slug
from corspolicy.sync.cache import Cache
from corspolicy.sync.connection import Ask
from corspolicy.sync.pace import Pace
from corspolicy.sync.signatures import InvalidSignature
from corspolicy.sync.snapshot import Snapshot
from corspolicy.sync.wire import ZERO_ID, Entry, Envelope, Keys

LARGE_DOCUMENT_BYTES = 65_536


class Changes:
    """A position in the stream."""

    def __init__(self, keys: Keys, cache: Cache, pace: Pace) -> None:
        self._keys = keys
        self._cache = cache
        self._pace = pace
        self.cursor = ZERO_ID
        """The id of the last entry that was read."""
        self.gaps = 0
        """How often something turned out to be missing, or of another epoch: a new snapshot has it."""
        self.is_at_end = False
        """Whether the last reading came to the end of the stream, as it was when Redis answered."""

    async def read(self, redis: Redis, ask: Ask, block: float | None, snapshot: Snapshot | None = None) -> bool:
        """Read on, waiting up to `block` seconds; whether anything came.

        What comes while a snapshot is being read is applied at once, and goes into the snapshot as well.
        """
        if not self.is_at_end:
            # There may be more to read at once; and how long that takes tells how much to ask for next.
            block = None
        milliseconds = None if block is None else int(block * 1000)
        began_at, page = time.monotonic(), self._pace.page
        answer = await ask(redis.xread({self._keys.changes: self.cursor}, count=page, block=milliseconds))
        if not answer:
            self.is_at_end = True
            return False
        entries = [Entry.from_fields(entry_id, fields) for entry_id, fields in answer[0][1]]
        self.is_at_end = len(entries) < page
        if block is None and not self.is_at_end:
            self._pace.took(time.monotonic() - began_at)
        large = await self._fetch_large(redis, ask, entries, is_snapshot=snapshot is not None)
        for entry in entries:
            if entry.previous != self.cursor or (entry.epoch is not None and entry.epoch != self._cache.epoch):
                self.gaps += 1
            if entry.tenant is not None:
                await self._apply(entry, large, snapshot)
            if entry.state is not None and snapshot is None:
                self._compare(entry.state)
            self.cursor = entry.id
        return True

    def _compare(self, value: bytes) -> None:
        """Compare what is cached with what the publisher says that it is after this entry."""
        if self._cache.verifier is None:
            return
        # One that is older than what was read already says nothing, nor does a forged one.
        with suppress(InvalidSignature):
            if not self._cache.is_as_signed(self._cache.verifier.read_state(value)):
                self.gaps += 1

    async def _fetch_large(
        self, redis: Redis, ask: Ask, entries: Sequence[Entry], *, is_snapshot: bool
    ) -> dict[str, bytes | None]:
        """The documents that are too large for the stream, of the tenants that are followed."""
        large = [_tenant(entry) for entry in entries if entry.revision is not None and entry.envelope is None]
        waiting = [tenant for tenant in dict.fromkeys(large) if is_snapshot or self._cache.follows(tenant)]
        found: dict[str, bytes | None] = {}
        while waiting:
            page, waiting = waiting[: self._pace.page], waiting[self._pace.page :]
            began_at = time.monotonic()
            values = await ask(redis.hmget(self._keys.documents, page))
            self._pace.took(time.monotonic() - began_at)
            found.update(zip(page, values, strict=True))
        return found

    async def _apply(self, entry: Entry, large: dict[str, bytes | None], snapshot: Snapshot | None) -> None:
        tenant = _tenant(entry)
        if not is_slug(tenant):
            return
        if snapshot is None and not self._cache.follows(tenant):
            self._cache.forget_unknown(tenant)
            return
        value = large.get(tenant) if entry.envelope is None else entry.envelope
        if value is None:
            # The hash has lost what the stream tells of.
            self.gaps += 1
            return
        revision = 0
        try:
            envelope = Envelope.from_bytes(value)
            revision = envelope.revision
            if entry.envelope is None and b"%d" % revision != entry.revision:
                # Another change has come since, which is in the stream as well; or, if it is older, was lost.
                self.gaps += revision < int(entry.revision or 0)
            await self._apply_envelope(tenant, envelope, snapshot)
        except ValueError as error:
            self._cache.reject(tenant, revision, str(error))

    async def _apply_envelope(self, tenant: str, envelope: Envelope, snapshot: Snapshot | None) -> None:
        is_newer = self._cache.is_newer(tenant, envelope.revision)
        # Apart: in a new epoch, a revision can be news to the snapshot and yet lower than the cached one.
        known = None if snapshot is None else snapshot.documents.revision_of(tenant)
        is_news = snapshot is not None and (known is None or envelope.revision > known)
        if not is_newer and not is_news:
            return
        cached = self._cache.next(tenant, envelope)
        try:
            if len(envelope.payload or b"") > LARGE_DOCUMENT_BYTES:
                await asyncio.to_thread(cached.read, tenant, self._cache.verifier)
            else:
                cached.read(tenant, self._cache.verifier)
        except UnreadableDocument as error:
            if not isinstance(error.__cause__, InvalidSignature):
                self._note_unreadable(tenant, envelope.revision, snapshot, is_newer=is_newer)
            raise
        if is_newer:
            self._cache.apply(tenant, cached)
        if snapshot is not None and is_news:
            snapshot.documents.put(tenant, cached)

    def _note_unreadable(self, tenant: str, revision: int, snapshot: Snapshot | None, *, is_newer: bool) -> None:
        if is_newer:
            self._cache.note_unreadable(tenant, revision)
        if snapshot is not None:
            snapshot.documents.note_unreadable(tenant, revision)


def _tenant(entry: Entry) -> str:
    return (entry.tenant or b"").decode("utf-8", "replace")
