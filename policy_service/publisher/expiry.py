"""Removes expired entries from the documents. Clients do not wait for it: they enforce expiry by their own clock."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import ANYTHING
from policy_service.changes.request import ChangeRequest
from policy_service.changes.transaction import changing
from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.errors import Problem
from policy_service.publisher import store

BATCH = 100

_REQUEST = ChangeRequest(Caller("corspolicy"), ANYTHING)

logger = logging.getLogger(__name__)


async def expire_forever(sessions: Sessions, interval: float) -> None:
    """Remove expired entries, now and every `interval` seconds, until cancelled.

    Of one tenant together, at most this often: each removal writes its document again, in the history and in Redis.
    """
    has_failed = False
    while True:
        try:
            await _expire_all(sessions, timedelta(seconds=interval))
            has_failed = False
        except Exception as error:
            # Whatever it is: if it ended this task, nothing would be removed any more, without a word.
            level = logging.DEBUG if has_failed else logging.WARNING
            is_known = isinstance(error, DATABASE_ERRORS)
            logger.log(
                level,
                "expired origins are not removed, trying again: %s",
                type(error).__name__,
                exc_info=None if is_known else error,
            )
            has_failed = True
        await asyncio.sleep(interval)


async def _expire_all(sessions: Sessions, delay: timedelta) -> None:
    """Remove what has expired of each tenant with an entry that expired `delay` ago, unless another process does."""
    async with sessions.begin() as session:
        if not await store.try_lock_expiry(session):
            return
        after = ""
        while due := await store.with_expired(session, delay, after, BATCH):
            for tenant, now in due:
                await _expire(sessions, tenant, now)
            after = due[-1][0]


async def _expire(sessions: Sessions, tenant: str, now: datetime) -> None:
    try:
        async with changing(sessions, tenant, _REQUEST, "origin.expire") as change:
            change.document.drop_expired(now)
    except Problem:
        logger.info("tenant %s was deleted before its expired origins were removed", tenant)
    except ValueError:
        # One unreadable document must not keep the others from being cleaned.
        logger.exception("expired origins of tenant %s can't be removed", tenant)
