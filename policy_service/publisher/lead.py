"""One leader's term: what it publishes, and how it knows that Redis still has what was published before.

Redis has an epoch, the identity of the database, how many changes were published and their highest revision. Where any
of that is not as this database knows it, Redis was emptied or set back, or the database was restored: the sequences are
lifted above what Redis has seen, and everything is written again as a new epoch.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from corspolicy.sync.wire import Envelope, Keys
from policy_service.auth.callers import EVERYTHING
from policy_service.documents.model import StoredDocument
from policy_service.documents.published import to_envelope
from policy_service.publisher import store
from policy_service.publisher.scripts import LaterTerm, Lost, OtherDatabase, Scripts
from policy_service.publisher.signing import Signer
from policy_service.publisher.store import Truth

WRITE_BYTES = 1024 * 1024
"""What is written to Redis at once, at least one document: nobody else is served meanwhile."""

FEW_BYTES = 64 * 1024
"""So many are read within a few milliseconds."""

logger = logging.getLogger(__name__)

Published = tuple[str, int, bytes]
"""Tenant, revision, envelope."""


class Lead:
    """Publishes over one connection to PostgreSQL, which holds the leader's lock."""

    def __init__(
        self,
        connection: AsyncConnection,
        redis: Redis,
        keys: Keys,
        stream_length: int,
        tell: Callable[[str], None],
        signer: Signer | None = None,
    ) -> None:
        """`tell` is told what is done, for people."""
        self._signer = signer
        self._connection = connection
        self._scripts = Scripts(redis, keys)
        self._stream_length = stream_length
        self._tell = tell
        self._epoch = ""
        self._writes = 0
        self._position = 0

    @property
    def term(self) -> int:
        """The term that this leader has claimed."""
        return self._scripts.term

    async def begin(self, *, was_away: bool) -> None:
        """Claim a term, and go on where the leader before ended.

        `was_away`: Redis was out of reach since. Raises OtherDatabase if another one publishes to this Redis.
        """
        truth = await store.truth(self._connection)
        self._scripts.database = truth.identity
        self._scripts.term = await store.next_term(self._connection)
        found = await self._scripts.claim()
        if found.term >= self._scripts.term:
            # The lock is this session's: no leader of this database has that term. It is an older copy of itself.
            self._scripts.term = await store.next_term(self._connection, above=found.term)
            if (later := (await self._scripts.claim()).term) >= self._scripts.term:
                raise LaterTerm(later)
        self._epoch, self._position = truth.epoch or "", truth.position
        self._writes = int(found.writes or 0) if found.writes.isdecimal() else -1
        loss = await self._unknown(truth, found.position, found.revision, is_first=True)
        if loss is None and self._signer is not None:
            loss = self._signer.resume(found.state, await store.published_revisions(self._connection))
        if loss is None:
            loss = (await self._scripts.check(self._epoch, str(self._writes), was_away=was_away)).loss
        if loss:
            await self.rebuild(loss)

    async def check(self) -> None:
        """See that Redis, and the database itself, are as they were left; write everything again if not."""
        truth = await store.truth(self._connection)
        self._scripts.database = truth.identity
        found = await self._scripts.check(self._epoch, str(self._writes), was_away=False, state=self._state())
        loss = found.loss or await self._unknown(truth, found.position, found.revision, is_first=False)
        if loss:
            await self.rebuild(loss)

    async def is_alone(self) -> bool:
        """Whether no later term of this database's identity stands in Redis."""
        if (await store.truth(self._connection)).identity != self._scripts.database:
            return True
        try:
            await self._scripts.check(self._epoch, str(self._writes), was_away=True)
        except LaterTerm:
            return False
        except OtherDatabase:
            pass
        return True

    async def _unknown(self, truth: Truth, position: int, revision: int, *, is_first: bool) -> str | None:
        """What Redis has that this database does not know, or lacks; lifts the sequence of revisions above that."""
        await store.lift_revisions(self._connection, truth.newest)
        if await store.lift_revisions(self._connection, revision):
            return f"it has revision {revision}, which this database has not reached: the database was restored"
        if position < truth.position:
            return "it lacks changes that were published"
        if truth.position < self._position:
            return "the database was restored"
        if position > truth.position and not (is_first and await store.is_unpublished(self._connection, revision)):
            return f"it has {position - truth.position} changes that this database does not know"
        return None

    async def publish_batch(self) -> bool:
        """Publish the first unpublished changes; whether there were any. Raises Lost if Redis has lost anything."""
        batch = await store.unpublished(self._connection)
        if not batch:
            return False
        changes = [(change.tenant, change.revision, change.after) for change in batch]
        published = await _all_published(changes, sum(change.bytes for change in batch))
        marked = [change.revision for change in batch]
        await self._write(published, is_news=True)
        await store.mark_published(self._connection, marked)
        self._position += len(batch)
        return True

    async def rebuild(self, why: str) -> None:
        """Write all documents again, changes in between; the epoch last, which makes them a snapshot."""
        logger.info("Redis is not what was published (%s): writing everything to it", why)
        self._tell("rebuilding")
        truth = await store.truth(self._connection)
        await self._scripts.begin_epoch(is_first=truth.epoch is None)
        self._epoch, self._writes, self._position = "", 0, truth.position
        if self._signer is not None:
            self._signer.forget()
        count, last = 0, ""
        while batch := await store.documents(self._connection, EVERYTHING, last):
            await self._write(await _all_published(batch, store.BATCH_BYTES), is_news=False)
            count, last = count + len(batch), batch[-1][0]
            self._tell(f"rebuilding: {count} tenants written")
            await self.publish_batch()
        epoch = secrets.token_hex(8)
        state = b"" if self._signer is None else self._signer.state(epoch)
        await self._scripts.end_epoch(epoch, self._writes, self._position, truth.newest, self._stream_length, state)
        self._epoch = epoch
        await store.name_epoch(self._connection, epoch)
        self._tell("leading")
        logger.info("wrote %d tenants to Redis, epoch %s", count, epoch)

    async def _write(self, published: Iterable[Published], *, is_news: bool) -> None:
        position = self._position
        for part in parts_of(published):
            position += len(part) if is_news else 0
            if self._signer is not None:
                part = await asyncio.to_thread(self._signer.sign, part)
                self._signer.note(part)
            rejected = await self._scripts.write(
                self._epoch,
                self._writes,
                position,
                max(revision for _, revision, _ in part) if is_news else 0,
                self._stream_length if is_news else 0,
                self._state(),
                [(tenant, envelope) for tenant, _, envelope in part],
            )
            self._writes += 1
            # That a later document is there is right only where that is of this database, as it is now.
            if rejected and not await store.are_superseded(self._connection, rejected):
                await store.lift_revisions(self._connection, max(rejected.values()))
                raise Lost(f"it has later revisions than this database: {rejected}")

    def _state(self) -> bytes:
        """What is published, signed; while everything is being written again, and without a key, nothing."""
        return b"" if self._signer is None or not self._epoch else self._signer.state(self._epoch)


def parts_of(published: Iterable[Published]) -> Iterator[list[Published]]:
    """In their order, as many as are written at once."""
    part: list[Published] = []
    size = 0
    for item in published:
        if part and size + len(item[2]) > WRITE_BYTES:
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item[2])
    if part:
        yield part


async def _all_published(rows: Sequence[tuple[str, int, dict[str, Any] | None]], size: int) -> list[Published]:
    """What is published of documents of `size` bytes: made in a thread where that takes a while."""
    if size <= FEW_BYTES:
        return [_published(*row) for row in rows]
    return await asyncio.to_thread(lambda: [_published(*row) for row in rows])


def _published(tenant: str, revision: int, stored: dict[str, Any] | None) -> Published:
    try:
        document = None if stored is None else StoredDocument.model_validate(stored)
        return tenant, revision, to_envelope(tenant, revision, document)
    except ValueError:
        # It must not hold up all others. Clients reject it, keep what they have of this tenant, and report that.
        logger.exception("the document of tenant %s at revision %d can't be read", tenant, revision)
        return tenant, revision, Envelope(revision, b"{}").to_bytes()
