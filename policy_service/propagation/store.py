"""Queries about how far changes have come."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from redis.asyncio import Redis
from sqlalchemy import extract, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.wire import EPOCH
from policy_service.callers import Scope
from policy_service.models import Change, Publication


class Committed(NamedTuple):
    """A change, and how long ago it was made, in seconds."""

    tenant: str
    age: float
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def find(session: AsyncSession, scope: Scope, revision: int) -> Committed | None:
    """The change that made a revision."""
    age = extract("epoch", func.clock_timestamp() - Change.created_at)
    query = select(Change.tenant, age, Change.before, Change.after)
    row = (await session.execute(query.where(Change.revision == revision, scope.where(Change.tenant)))).first()
    return None if row is None else Committed(row[0], float(row[1]), row[2], row[3])


async def published(session: AsyncSession, revisions: Collection[int]) -> frozenset[int]:
    """Which of these the publisher has written to Redis."""
    query = select(Change.revision).where(Change.revision.in_(revisions), Change.published_at.is_not(None))
    return frozenset(await session.scalars(query))


async def publication(session: AsyncSession) -> Publication | None:
    """Which Redis the publisher writes to, and which epoch in it is complete."""
    return await session.get(Publication, 1)


async def holds(redis: Redis, publication: Publication) -> bool:
    """Whether this Redis is that one, and still has what was written."""
    epoch: Any = await redis.get(EPOCH)
    information: Any = await redis.info("server")
    return epoch is not None and (epoch.decode(), information["run_id"]) == (
        publication.epoch,
        publication.redis_run_id,
    )
