"""The connections of the HTTP server: bounded in number, in bytes and in time, whatever a client sends or leaves out.

uvicorn ends a connection that is idle between two requests, and no other: not one that sends half a head, nor one that
does not read its response. For `corspolicy serve` and `up`; uvicorn takes it as its `http` protocol. Of uvicorn's two,
it extends the one that it runs by default where httptools is installed.
"""

from __future__ import annotations

import asyncio
from functools import cache
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from policy_service.errors import Problem
from policy_service.http.problems import problem_response
from policy_service.settings import Settings

PROTOCOL = f"{__name__}:BoundedConnection"
"""What uvicorn's `http` is set to."""
MAX_HEAD_BYTES = 128 * 1024
"""How much of a request may be something else than its body, after the first piece that is read."""
MAX_PIPELINED = 20
RESERVE = 20
"""So many connections beyond the limit are there for health checks."""
HEALTH_PATHS = ("/livez", "/readyz")


class BoundedConnection(HttpToolsProtocol):
    """One connection. Whoever keeps the service waiting too long is dropped; so is the longest, if all are taken."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings = _settings()
        self.timeout_keep_alive = self._settings.keep_alive_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0
        # Whether a request began that is not answered.
        self._has_begun = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            waiting = [c for c in self.connections if isinstance(c, BoundedConnection) and c._timer is not None]
            if waiting:
                min(waiting, key=lambda connection: connection._waiting_since)._drop()
            elif len(self.connections) > self._settings.max_connections + RESERVE:
                self._drop()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_idle and not self._has_begun:
            self._has_begun = True
            self._watch()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.logger.warning("A request's head is larger than %d bytes: dropping the connection.", MAX_HEAD_BYTES)
            self._drop()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._drop()
            return
        app, path = self.app, self.url.partition(b"?")[0].decode("latin-1")
        if len(self.connections) > self._settings.max_connections and path not in HEALTH_PATHS:
            self.app = _too_many_connections(self._settings.max_connections)
        try:
            super().on_headers_complete()
        finally:
            self.app = app
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._has_begun = False
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    @property
    def _is_idle(self) -> bool:
        """Whether there is no request to respond to."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Give the client a deadline for what it has to do next, if anything."""
        self._stop_watching()
        settings = self._settings
        if self.flow.write_paused:
            seconds = settings.response_timeout_seconds
        elif not self._is_idle:
            return
        elif self._has_begun:
            seconds = settings.head_timeout_seconds
        else:
            # Or to read the end of a response, which may still be on its way.
            seconds = max(settings.keep_alive_seconds, settings.response_timeout_seconds)
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(seconds, self._drop)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        """End the connection without waiting until the client has read what was sent."""
        self._stop_watching()
        # At once: its place is another's now.
        self.connections.discard(self)
        self.transport.abort()


@cache
def _settings() -> Settings:
    return Settings()


def _too_many_connections(limit: int) -> ASGIApp:
    detail = f"{limit} clients are connected to this process (CORSPOLICY_MAX_CONNECTIONS): try again."
    headers = {"Connection": "close", "Retry-After": "1"}
    return problem_response(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-connections", detail, headers=headers))
