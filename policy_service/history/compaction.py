"""Removes documents of old revisions from the history. What each change did, its difference, stays.

A document is removed when another has replaced it for as long as set, or when the tenant's newer documents have as many
bytes as set. Never the current one, nor one that is not yet published.
"""

from __future__ import annotations

import asyncio
import logging
import time

from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.history import store
from policy_service.history.store import Kept

INTERVAL_SECONDS = 5.0
"""How far a tenant that writes as fast as it may gets beyond its bytes: what it writes in this time."""
SWEEP_SECONDS = 3600.0
BATCH = 200

logger = logging.getLogger(__name__)


class Compaction:
    """Looks every few seconds at the tenants that were changed, and every hour at all."""

    def __init__(self, sessions: Sessions, kept: Kept) -> None:
        self._sessions = sessions
        self._kept = kept
        self._position = 0
        self._swept_at: float | None = None

    async def run(self) -> None:
        """Remove what is not to stay, until cancelled."""
        has_failed = False
        while True:
            try:
                await self.pass_once()
                has_failed = False
            except Exception as error:
                # Whatever it is: if it ended this task, the history would grow without a word.
                logger.log(
                    logging.DEBUG if has_failed else logging.WARNING,
                    "old documents are not removed from the history, trying again: %s",
                    type(error).__name__,
                    exc_info=None if isinstance(error, DATABASE_ERRORS) else error,
                )
                has_failed = True
            await asyncio.sleep(INTERVAL_SECONDS)

    async def pass_once(self) -> None:
        """Look at the tenants changed since the last time, or at all where that is due, unless another process does."""
        began = time.monotonic()
        is_sweep = self._swept_at is None or began - self._swept_at >= SWEEP_SECONDS
        async with self._sessions.begin() as session:
            if not await store.try_lock_compaction(session):
                return
            last = await store.last_position(session)
            since, tenant = None if is_sweep else self._position, ""
            while tenants := await store.compactable(session, self._kept, since, last, tenant, BATCH):
                for tenant in tenants:
                    await self._compact(tenant)
        self._position = last
        if is_sweep:
            self._swept_at = began

    async def _compact(self, tenant: str) -> None:
        count = BATCH
        while count == BATCH:
            async with self._sessions.begin() as session:
                count = await store.compact(session, tenant, self._kept, BATCH)
