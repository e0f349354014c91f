"""Looks at what the live processes have applied: one look at a time, for everybody who waits."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from redis.asyncio import Redis

from policy_service.database import Sessions
from policy_service.fleet import store as fleet
from policy_service.fleet.schemas import Reported
from policy_service.fleet.service import read_report
from policy_service.propagation import store
from policy_service.publisher.store import is_held

INTERVAL_SECONDS = 0.05
AFTER_FAILURE_SECONDS = 0.5
# A look at very many processes takes its time, and must leave the service most of it. One that waited
# for a silent Redis cost nothing.
SHARE = 4
MAX_PAUSE_SECONDS = 1.0


class Position(NamedTuple):
    """A place in the stream of changes."""

    milliseconds: int
    number: int

    @classmethod
    def parse(cls, entry_id: str) -> Position:
        """An entry's id; the beginning of the stream where it is none."""
        parts = entry_id.split("-")
        is_id = len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 20 for part in parts)
        return cls(int(parts[0]), int(parts[1])) if is_id else cls(0, 0)


class Heard(NamedTuple):
    """A live process: its latest report, None if that can't be read, and when it came, by the monotonic clock."""

    id: str
    report: Reported | None
    at: float


class Look(NamedTuple):
    """What stood in Redis at one moment."""

    published: frozenset[int]
    """Those of the revisions asked about that Redis had before anything else was read."""
    epoch: str | None
    """The complete epoch; None if this Redis is not, or no longer, the one that was published to."""
    end: Position
    """The end of the stream, read before the reports."""
    heard: list[Heard]


class Lookout:
    """Looks when somebody waits, and not more often than every `INTERVAL_SECONDS`."""

    def __init__(self, sessions: Sessions, redis: Redis) -> None:
        self._sessions = sessions
        self._redis = redis
        self._turn = asyncio.Lock()
        self._coming: asyncio.Task[Look] | None = None
        self._revisions: set[int] = set()
        self._not_before = 0.0

    async def look(self, revision: int) -> Look:
        """The next look that begins. Raises what PostgreSQL and Redis raise."""
        self._revisions.add(revision)
        if self._coming is None:
            self._coming = asyncio.create_task(self._look_in_turn(), name="look at the fleet")
            # Whoever waited may be gone when it fails.
            self._coming.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Shielded: one who gives up must not end it for the others.
        return await asyncio.shield(self._coming)

    async def _look_in_turn(self) -> Look:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            # Who comes from here on is answered by the next one.
            self._coming = None
            revisions, self._revisions = self._revisions, set()
            began = time.monotonic()
            pause = AFTER_FAILURE_SECONDS
            try:
                look = await self._look(revisions)
                took = time.monotonic() - began
                pause = min(MAX_PAUSE_SECONDS, max(INTERVAL_SECONDS, SHARE * took))
                return look
            finally:
                self._not_before = time.monotonic() + pause

    async def _look(self, revisions: set[int]) -> Look:
        async with self._sessions() as session:
            published = await store.published(session, revisions)
            publication = await store.publication(session)
        found = await fleet.reports(self._redis)
        now = time.monotonic()
        heard = [Heard(name, read_report(report), now - silence) for name, report, silence in found.heard]
        # Last: what was read before is then of this Redis, too.
        epoch = None
        if publication is not None and await is_held(self._redis, publication.epoch, publication.redis_history):
            epoch = publication.epoch
        return Look(published, epoch, Position.parse(found.cursor), heard)
