"""Reads what the live processes have applied: one reading at a time, for all who wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from corspolicy.sync.wire import Keys
from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.fleet import store
from policy_service.fleet.reports import read_report
from policy_service.fleet.schemas import ProcessReport
from policy_service.fleet.store import Position, Register

INTERVAL_SECONDS = 0.05
AFTER_FAILURE_SECONDS = 0.5
# A reading of very many processes takes its time, and must leave the service most of it. One that waited for a silent
# Redis cost nothing.
SHARE = 4
MAX_PAUSE_SECONDS = 1.0
WATCH_SECONDS = 5.0
RESYNC_SECONDS = 60.0
"""How long a resync has to help, before it is asked for again."""

_MAY_NOT_LIST = (
    "the service's Redis user may not list connections: a process that follows the policies and may not report is not "
    "noticed, and a change counts as applied everywhere without it. Let the user run CLIENT LIST (+client|list)"
)

logger = logging.getLogger(__name__)


class LiveProcess(NamedTuple):
    """A process that reported lately: its latest report, None if that can't be read, and when it came."""

    id: str
    report: ProcessReport | None
    at: float
    """By the monotonic clock."""
    is_different: bool
    """It has read everything, and holds something else than what is published."""
    is_foreign: bool
    """Its cursor is beyond the end of the stream: it has read another one, or did not write this report."""

    @property
    def has_diverged(self) -> bool:
        """Whether it holds something else for no reason: one that rejects a document keeps the one before."""
        return self.is_foreign or (self.is_different and self.report is not None and not self.report.rejections)


class FleetSnapshot(NamedTuple):
    """What stood in Redis at one moment."""

    positions: Mapping[int, int]
    """Those of the revisions asked about that Redis had before anything else was read."""
    epoch: str | None
    """The complete epoch; None if this Redis does not hold, or no longer holds, what was published."""
    end: Position
    """The end of the stream, read before the reports."""
    all_known: bool
    """Whether no live process can be missing below, of those that may report."""
    not_reporting: int | None
    """How many processes follow and do not report; None if the service may not list connections."""
    processes: list[LiveProcess]


class FleetPoller:
    """Reads when somebody waits, and not more often than every `INTERVAL_SECONDS`."""

    def __init__(self, sessions: Sessions, redis: Redis, keys: Keys) -> None:
        self._sessions = sessions
        self._redis = redis
        self._keys = keys
        self._turn = asyncio.Lock()
        self._coming: asyncio.Task[FleetSnapshot] | None = None
        self._revisions: set[int] = set()
        self._not_before = 0.0
        self._digest: tuple[int, str | None] = (-1, None)
        self._diverged: dict[str, ProcessReport] = {}
        self._asked_at: dict[str, float] = {}
        self._has_warned = False

    async def watch(self) -> None:
        """Read every few seconds, so that a process that holds something else is found although nobody waits."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(RedisError, *DATABASE_ERRORS):
                await self._resync(await self.read())

    async def read(self, *revisions: int) -> FleetSnapshot:
        """The next snapshot that is begun. Raises what PostgreSQL and Redis raise."""
        self._revisions.update(revisions)
        if self._coming is None:
            self._coming = asyncio.create_task(self._read_in_turn(), name="reading of the fleet")
            # Whoever waited may be gone when it fails.
            self._coming.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Shielded: one who gives up must not end it for the others.
        return await asyncio.shield(self._coming)

    async def _read_in_turn(self) -> FleetSnapshot:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            # Who comes from here on is answered by the next one.
            self._coming = None
            revisions, self._revisions = self._revisions, set()
            began = time.monotonic()
            pause = AFTER_FAILURE_SECONDS
            try:
                snapshot = await self._read(revisions)
                took = time.monotonic() - began
                pause = min(MAX_PAUSE_SECONDS, max(INTERVAL_SECONDS, SHARE * took))
                return snapshot
            finally:
                self._not_before = time.monotonic() + pause

    async def _read(self, revisions: set[int]) -> FleetSnapshot:
        async with self._sessions() as session:
            published = await store.published(session, revisions)
            if self._digest[0] != published.position:
                self._digest = published.position, await store.digest(session, published.position)
        register = await store.read_register(self._redis, self._keys)
        if register.not_reporting is None and not self._has_warned:
            logger.warning(_MAY_NOT_LIST)
            self._has_warned = True
        now = time.monotonic()
        # The digest is that of the end of the stream, if nothing was published since the database was asked.
        digest = self._digest[1] if register.position == published.position else None
        is_held = (register.database, register.epoch) == (published.database, published.epoch)
        return FleetSnapshot(
            positions={
                revision: position
                for revision, position in published.positions.items()
                if is_held and position <= register.position
            },
            epoch=published.epoch if is_held else None,
            end=Position.parse(register.end),
            all_known=is_held and register.is_whole,
            not_reporting=register.not_reporting,
            processes=[_live(received, now, register, digest if is_held else None) for received in register.received],
        )

    async def _resync(self, snapshot: FleetSnapshot) -> None:
        """Make those take a new snapshot that hold the same wrong thing for the second time."""
        diverged = {process.id: process.report for process in snapshot.processes if process.has_diverged}
        for name, report in diverged.items():
            known = self._diverged.get(name)
            is_due = self._asked_at.get(name, 0.0) < time.monotonic() - RESYNC_SECONDS
            if is_due and known is not None and report is not None and known.digest == report.digest:
                logger.warning("process %s holds other policies than are published: asking it to resync", name)
                await store.ask_to_resync(self._redis, self._keys, name)
                self._asked_at[name] = time.monotonic()
        self._asked_at = {name: at for name, at in self._asked_at.items() if name in diverged}
        self._diverged = {name: report for name, report in diverged.items() if report is not None}


def _live(received: store.Received, now: float, register: Register, digest: str | None) -> LiveProcess:
    report = read_report(received.report)
    at = now - received.silence
    if report is None or report.epoch != register.epoch:
        return LiveProcess(received.id, report, at, is_different=False, is_foreign=False)
    is_at_end = digest is not None and report.cursor == register.end
    return LiveProcess(
        received.id,
        report,
        at,
        is_different=is_at_end and report.complete and report.digest != digest,
        is_foreign=Position.parse(report.cursor) > Position.parse(register.limit),
    )
