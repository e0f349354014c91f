"""Removes expired entries from the documents. Clients do not wait for it: they go by their own clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import Precondition
from policy_service.changes.request import ChangeRequest
from policy_service.changes.service import change_tenant
from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.documents.model import StoredDocument
from policy_service.errors import ErrorItem, Problem
from policy_service.publisher import store

BATCH = 100

_ASKED = ChangeRequest(Caller("corspolicy"), Precondition("*"))

logger = logging.getLogger(__name__)


async def expire_forever(sessions: Sessions, interval: float) -> None:
    """Remove expired entries, now and every `interval` seconds, until cancelled."""
    has_failed = False
    while True:
        try:
            await _expire_all(sessions)
            has_failed = False
        except DATABASE_ERRORS as error:
            level = logging.DEBUG if has_failed else logging.WARNING
            logger.log(level, "expired origins can't be removed now, trying again: %s", type(error).__name__)
            has_failed = True
        await asyncio.sleep(interval)


async def _expire_all(sessions: Sessions) -> None:
    """Remove what has expired by now; nothing if another replica is doing so."""
    async with sessions.begin() as session:
        if not await store.try_lock_expiry(session):
            return
        after = ""
        while due := await store.with_expired(session, after, BATCH):
            for tenant, now in due:
                await _expire(sessions, tenant, now)
            after = due[-1][0]


async def _expire(sessions: Sessions, tenant: str, now: datetime) -> None:
    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        document.drop_expired(now)
        return ()

    try:
        await change_tenant(sessions, tenant, asked=_ASKED, action="origin.expire", change=change)
    except Problem:
        logger.info("tenant %s was deleted before its expired entries were removed", tenant)
    except ValueError:
        # One document that can't be read must not keep all others from being cleaned.
        logger.exception("the expired entries of tenant %s can't be removed", tenant)
