"""Ends what goes on for long, event streams and waits, soon after the key that it was asked with."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from policy_service.auth import store
from policy_service.auth.callers import Caller
from policy_service.database import Sessions
from policy_service.errors import Problem

INTERVAL_SECONDS = 0.25

T = TypeVar("T")

logger = logging.getLogger(__name__)


class KeyWatch:
    """Notices keys that were revoked or have expired. `run` it as a task: one query for all who wait."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._callbacks: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)
        self._is_needed = asyncio.Event()

    @contextmanager
    def watching(self, caller: Caller, when_invalid: Callable[[], object]) -> Iterator[None]:
        """Within the block, call `when_invalid` soon after the caller's key is not valid any more, perhaps often."""
        key_id = caller.actor.removeprefix("key:")
        self._callbacks[key_id].append(when_invalid)
        self._is_needed.set()
        try:
            yield
        finally:
            self._callbacks[key_id].remove(when_invalid)
            if not self._callbacks[key_id]:
                del self._callbacks[key_id]

    async def while_valid(self, caller: Caller, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises Problem 401, with it cancelled, if the caller's key ends before."""
        task = asyncio.create_task(work)
        with self.watching(caller, task.cancel):
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
        if not task.cancelled():
            return task.result()
        detail = "The key was revoked or has expired while it waited: ask an administrator for another."
        raise Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})

    async def run(self) -> None:
        """Look at the keys that are watched, until cancelled."""
        while True:
            await self._is_needed.wait()
            try:
                await self._look()
            except Exception as error:
                # Whatever it is: if it ended this task, what goes on would outlive its keys.
                logger.warning("can't tell which keys are still valid, trying again: %s", type(error).__name__)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _look(self) -> None:
        if not self._callbacks:
            self._is_needed.clear()
            return
        # Not those that come meanwhile.
        watched = list(self._callbacks)
        async with self._sessions() as session:
            valid = await store.valid_keys(session, watched)
        for key_id in watched:
            if key_id not in valid:
                for callback in list(self._callbacks.get(key_id, ())):
                    callback()
