"""Changes as server-sent events, in the order in which they were published.

Not in the order of revisions: a transaction that took an early revision may commit late, and a reader that went on
from a later one would never see it. The publisher numbers changes when they are published, one at a time, so that a
position that was read is never followed by the appearance of a lower one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from http import HTTPStatus

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from policy_service.auth.callers import Authenticate, Caller
from policy_service.auth.callers import Scope as CallerScope
from policy_service.auth.key_watch import KeyWatch
from policy_service.auth.shares import Places
from policy_service.database import DATABASE_ERRORS, Session, Sessions
from policy_service.errors import Problem
from policy_service.history import store
from policy_service.history.service import read_number, view
from policy_service.history.store import Filters

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
SEND_TIMEOUT_SECONDS = 30.0
STOP_SECONDS = 3.0
BATCH = 100
BATCH_BYTES = 256 * 1024
"""What one stream holds, as JSON, while its client does not read; it is read with at least one change."""

logger = logging.getLogger(__name__)


class _Answer(EventSourceResponse):
    place: ExitStack
    """Closed when the stream ends, however it ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A client that stops reading is dropped; that is not an error of the service.
        with self.place, suppress(SendTimeoutError):
            await super().__call__(scope, receive, send)


class Streams:
    """The open streams of this process."""

    def __init__(self, places: Places, key_watch: KeyWatch) -> None:
        self._places = places
        self._key_watch = key_watch

    async def open(
        self,
        sessions: Sessions,
        caller: Caller,
        authenticate: Authenticate,
        filters: Filters,
        last_event_id: str | None,
    ) -> EventSourceResponse:
        """The answer to one who wants to follow the changes.

        Raises Problem: 429 if its key does too often, 503 if too many do, 400 for a wrong id.
        """
        with ExitStack() as place:
            place.enter_context(self._places.place(caller.actor))
            async with sessions() as session:
                last = await store.last_position(session)
            position = last if filters.since is None else 0
            if last_event_id is not None:
                detail = "Pass the id of an event as it was given, or none, to begin with what is yet to come."
                position = read_number(last_event_id, detail)
                if position > last:
                    raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", detail)
            stopping = anyio.Event()
            place.enter_context(self._key_watch.watching(caller, stopping.set))
            answer = _Answer(
                self._events(sessions, authenticate, filters, position, stopping),
                ping=0,
                send_timeout=SEND_TIMEOUT_SECONDS,
                shutdown_event=stopping,
                shutdown_grace_period=STOP_SECONDS,
            )
            answer.place = place.pop_all()
            return answer

    async def _events(
        self, sessions: Sessions, authenticate: Authenticate, filters: Filters, position: int, stopping: anyio.Event
    ) -> AsyncIterator[ServerSentEvent]:
        try:
            beat_at = 0.0
            while not stopping.is_set():
                if time.monotonic() >= beat_at:
                    scope = (await authenticate()).scope
                    yield ServerSentEvent(comment="alive", id=str(position))
                    beat_at = time.monotonic() + HEARTBEAT_SECONDS
                async with sessions() as session:
                    last = await store.last_position(session)
                    events, is_more = await _read(session, scope, filters, position, last)
                for at, text in events:
                    if stopping.is_set():
                        return
                    yield ServerSentEvent(text, event="change", id=str(at))
                if is_more and events:
                    position = events[-1][0]
                    continue
                position = last
                with anyio.move_on_after(POLL_SECONDS):
                    await stopping.wait()
        except Problem as problem:
            logger.info("a stream of changes ends: %s", problem.detail)
        except DATABASE_ERRORS as error:
            logger.warning("a stream of changes ends, the client may resume it: %s", type(error).__name__)


async def _read(
    session: Session, scope: CallerScope, filters: Filters, position: int, last: int
) -> tuple[list[tuple[int, str]], bool]:
    """The next changes, each with its position, as text: as objects they take several times as much memory."""
    rows, is_more = await store.published(session, scope, filters, position, last, BATCH, BATCH_BYTES)
    return [(row.position or 0, view(row).model_dump_json()) for row in rows], is_more
