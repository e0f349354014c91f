"""Bounds what is kept of answers."""

from __future__ import annotations

import asyncio
import logging

from policy_service.database import Sessions
from policy_service.http.idempotency import store

INTERVAL_SECONDS = 600.0

logger = logging.getLogger(__name__)


async def clean_forever(sessions: Sessions) -> None:
    """Delete what need not be kept, now and every few minutes, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                await store.clean(session)
        except Exception as error:
            # Whatever it is: ended by it, this would leave everything that is kept for ever.
            logger.warning("kept answers are not deleted, which is tried again: %s", type(error).__name__)
        await asyncio.sleep(INTERVAL_SECONDS)
