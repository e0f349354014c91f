"""Says which of the live processes have applied a change, and waits for the others.

What proves it: once a change is marked as published, the stream's end is read. A process whose cursor is there, or
after it, has read the change, or a later one of the tenant; and one that follows a snapshot of the present epoch
without a gap has missed none before. One whose digest shows that it holds something else has not applied it, whatever
it read, nor has one whose cursor is beyond the end that the stream has by then. One that holds some tenants only has
no such digest, and is counted apart. Revisions prove nothing, since they do not commit in their order. Nor does the
absence of a report, unless all live processes are known and each connected one reports.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import OrderedDict
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from redis.exceptions import RedisError

from corspolicy.status import MAX_REPORTED_REJECTIONS
from policy_service.auth.callers import EVERYTHING, Caller, Scope
from policy_service.auth.shares import Places
from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.documents.model import StoredDocument
from policy_service.errors import Problem
from policy_service.fleet.poller import FleetPoller, FleetSnapshot, LiveProcess
from policy_service.fleet.schemas import ProcessReport
from policy_service.fleet.store import Position
from policy_service.propagation import preflights, store
from policy_service.propagation.schemas import (
    MAX_LISTED,
    Applied,
    Pending,
    PreflightsCached,
    Propagation,
    Rejected,
    RejectingProcess,
    ReportingProcess,
)
from policy_service.propagation.store import Committed

MAX_WAIT_SECONDS = 60
MAX_KNOWN = 10_000
# What the first reading may take, also for those who do not want to wait.
FIRST_READING_SECONDS = 5.0
# Within this interval a process reports anyway, so that its latest report tells when it applied a change.
REPORT_SECONDS = 5.0


@dataclass(slots=True)
class _Known:
    """What was found out about a change. Times are those of the monotonic clock."""

    committed_at: float
    incomplete_at: float
    """When it was last seen not to be complete."""
    epoch: str | None = None
    end: Position | None = None
    """The end of the stream when the change was first seen to be published, in that epoch."""
    completed_at: float | None = None
    """When the last process had reported, at the latest."""

    @property
    def milliseconds(self) -> float | None:
        """How long it took; None if nobody read reports while it did."""
        if self.completed_at is None or self.completed_at - self.incomplete_at > REPORT_SECONDS:
            return None
        return round(1000 * max(0.0, self.completed_at - self.committed_at), 1)


@dataclass(slots=True)
class _Standing:
    """The live processes, by how they stand to a change."""

    known: _Known
    is_published: bool
    all_known: bool
    not_reporting: int | None
    applied: list[LiveProcess] = field(default_factory=list)
    pending: list[LiveProcess] = field(default_factory=list)
    rejected: list[tuple[LiveProcess, str]] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for: a process that rejects a document does not try it again."""
        return self.is_published and self.all_known and not self.not_reporting and not self.pending

    @property
    def is_complete(self) -> bool:
        """Whether every live process applies the change."""
        return self.is_settled and not self.rejected


class Propagations:
    """How far changes have come. One object for a service process, so that all who wait share its readings."""

    def __init__(self, places: Places, poller: FleetPoller) -> None:
        self._places = places
        self._poller = poller
        self._known: OrderedDict[int, _Known] = OrderedDict()

    async def read(self, sessions: Sessions, caller: Caller, revision: int, wait: float) -> Propagation:
        """How far a change has come, when nothing is pending any more or after `wait` seconds.

        Raises Problem: 404 if there is no such revision, 503 if that can't be found out or too many wait, 429 if too
        many of this key do.
        """
        began = time.monotonic()
        async with sessions() as session:
            change = await store.find(session, caller.scope, revision)
        if change is None:
            detail = f"Revision {revision} not found, or not visible to this key."
            raise Problem(HTTPStatus.NOT_FOUND, "unknown-revision", detail)
        with self._places.place(caller.actor) if wait else nullcontext():
            standing = await self._wait(revision, change, began, wait)
        if standing is None:
            detail = "Redis or PostgreSQL does not respond: try again."
            headers = {"Retry-After": "1"}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unknown-propagation", detail, headers=headers)
        cached = await self._cached_until(sessions, revision, change, standing)
        return _answer(caller.scope, revision, standing, cached)

    async def _wait(self, revision: int, change: Committed, began: float, wait: float) -> _Standing | None:
        standing: _Standing | None = None
        committed_at = time.monotonic() - change.age
        deadline = began + max(wait, FIRST_READING_SECONDS)
        while snapshot := await self._read(revision, deadline):
            deadline = began + wait
            standing = self._stand(revision, change.tenant, snapshot, committed_at)
            if standing.is_settled or time.monotonic() >= deadline:
                break
        return standing

    async def _read(self, revision: int, deadline: float) -> FleetSnapshot | None:
        """The next snapshot of the fleet; None if there is none before the deadline, or the server was asked to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                while not _is_ending():
                    with suppress(RedisError, *DATABASE_ERRORS):
                        return await self._poller.read(revision)
        return None

    async def _cached_until(
        self, sessions: Sessions, revision: int, change: Committed, standing: _Standing
    ) -> PreflightsCached | None:
        completed_at = standing.known.completed_at
        if not standing.is_complete or completed_at is None:
            return None
        # Read only now: many may wait, each for a change of large documents.
        async with sessions() as session:
            documents = await store.documents(session, change.tenant, revision)
        # What is no longer stored may have removed anything.
        seconds: int | None = preflights.FIREFOX_SECONDS
        if documents is not None:
            before, after = (StoredDocument.model_validate(stored or {}) for stored in documents)
            seconds = preflights.longest_cached(before, after)
        if seconds is None:
            return None
        completed = _time(completed_at)
        return PreflightsCached(
            chromium=completed + timedelta(seconds=min(seconds, preflights.CHROMIUM_SECONDS)),
            firefox=completed + timedelta(seconds=min(seconds, preflights.FIREFOX_SECONDS)),
            safari=completed + timedelta(seconds=min(seconds, preflights.SAFARI_SECONDS)),
        )

    def _stand(self, revision: int, tenant: str, snapshot: FleetSnapshot, committed_at: float) -> _Standing:
        known = self._known.setdefault(revision, _Known(committed_at, incomplete_at=committed_at))
        self._known.move_to_end(revision)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        standing = _Standing(known, revision in snapshot.positions, snapshot.all_known, snapshot.not_reporting)
        if standing.is_published and known.epoch != snapshot.epoch:
            known.epoch, known.end = snapshot.epoch, snapshot.end
        for process in snapshot.processes:
            if not standing.is_published or process.report is None or not _has_read(process.report, known):
                standing.pending.append(process)
            elif why := _rejection(process.report, tenant):
                standing.rejected.append((process, why))
            elif process.has_diverged:
                standing.pending.append(process)
            else:
                standing.applied.append(process)
        if not standing.is_complete:
            known.incomplete_at = time.monotonic()
        elif known.completed_at is None:
            known.completed_at = max((process.at for process in snapshot.processes), default=time.monotonic())
        return standing


def _is_ending() -> bool:
    """Whether uvicorn was asked to end. It tells an application only when all requests are done, these too."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


def _has_read(report: ProcessReport, known: _Known) -> bool:
    """Whether a process has read all that was in the stream when the change was known to be."""
    return known.end is not None and report.epoch == known.epoch and Position.parse(report.cursor) >= known.end


def _rejection(report: ProcessReport, tenant: str) -> str | None:
    why = report.rejections.get(tenant)
    if why is None and len(report.rejections) >= MAX_REPORTED_REJECTIONS:
        # It names no more than these: whether it could read this one can't be told.
        return f"It could not read the documents of {MAX_REPORTED_REJECTIONS} tenants or more, and names others."
    return why


def _answer(scope: Scope, revision: int, standing: _Standing, cached_until: PreflightsCached | None) -> Propagation:
    # A key to some tenants learns how many processes there are, and not where they run.
    listed = MAX_LISTED if scope == EVERYTHING else 0
    longest_silent = sorted(standing.pending, key=lambda process: process.at)
    return Propagation(
        revision=revision,
        complete=standing.is_complete,
        published=standing.is_published,
        all_known=standing.all_known,
        not_reporting=standing.not_reporting,
        milliseconds=standing.known.milliseconds if standing.is_complete else None,
        applied=Applied(
            count=len(standing.applied),
            on_demand=sum(process.report is not None and not process.report.complete for process in standing.applied),
            processes=[ReportingProcess(**_shown(process)) for process in standing.applied[:listed]],
        ),
        pending=Pending(
            count=len(standing.pending),
            processes=[ReportingProcess(**_shown(process)) for process in longest_silent[:listed]],
        ),
        rejected=Rejected(
            count=len(standing.rejected),
            processes=[RejectingProcess(**_shown(process), why=why) for process, why in standing.rejected[:listed]],
        ),
        preflights_cached_until=cached_until,
    )


def _shown(process: LiveProcess) -> dict[str, Any]:
    report = process.report
    return {
        "id": process.id,
        "host": None if report is None else report.host,
        "process": None if report is None else report.process,
        "services": [] if report is None else report.services,
        "reported_at": _time(process.at),
    }


def _time(monotonic: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=monotonic - time.monotonic())
