"""Bounds what is kept of answers."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from policy_service.database import Sessions
from policy_service.idempotency import store

INTERVAL_SECONDS = 600.0

logger = logging.getLogger(__name__)


async def clean_forever(sessions: Sessions) -> None:
    """Delete what need not be kept, now and every few minutes, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                await store.clean(session)
        except (SQLAlchemyError, OSError) as error:
            logger.warning("kept answers are not cleaned, which is tried again: %s", type(error).__name__)
        await asyncio.sleep(INTERVAL_SECONDS)
