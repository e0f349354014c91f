"""The applications of a line, each with a clock of its own that a request steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import time_machine

from policy_service.app import create_app
from tests.chain import apps

PATH = "/clock"


class Clocked:
    """Answers `PATH?<seconds>` with 204 once this process's clock is so many seconds from what is true.

    The clock of the calendar alone is stepped, as an administrator or NTP would: the monotonic one goes on.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._travel: time_machine.travel | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        if self._travel is not None:
            self._travel.stop()
        self._travel = time_machine.travel(timedelta(seconds=int(scope["query_string"])), tick=True)
        self._travel.start()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def billing() -> Clocked:
    """The service `billing`, of which a line has two."""
    return Clocked(apps.billing())


def policy_service() -> Clocked:
    """The policy service."""
    return Clocked(create_app())
