"""Bounds the responses that are stored."""

from __future__ import annotations

import asyncio
import logging

from policy_service.database import Sessions
from policy_service.http.idempotency import store

INTERVAL_SECONDS = 600.0

logger = logging.getLogger(__name__)


async def clean_forever(sessions: Sessions) -> None:
    """Delete what need not be stored any more, now and every few minutes, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                await store.clean(session)
        except Exception as error:
            # Whatever it is: if it ended this task, everything would stay stored.
            logger.warning("old responses are not deleted, trying again: %s", type(error).__name__)
        await asyncio.sleep(INTERVAL_SECONDS)
