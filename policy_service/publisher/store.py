"""Queries of the publisher, and which Redis holds what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from redis.asyncio import Redis
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from corspolicy.sync.wire import EPOCH
from policy_service.auth.callers import Scope
from policy_service.models import Change, Tenant


class Unpublished(NamedTuple):
    """A change that Redis may not have yet."""

    revision: int
    tenant: str
    after: dict[str, Any] | None


async def unpublished(connection: AsyncConnection, limit: int) -> list[Unpublished]:
    """The first changes that are not marked as published, in order of their revision.

    Not "those after the last one": a transaction that took its revision early may commit late.
    """
    query = (
        select(Change.revision, Change.tenant, Change.after)
        .where(Change.published_at.is_(None))
        .order_by(Change.revision)
        .limit(limit)
    )
    return [Unpublished(*row) for row in await connection.execute(query)]


async def mark_published(connection: AsyncConnection, revisions: Sequence[int]) -> None:
    """Note that Redis has these changes, and number them in this order.

    Only the leader marks, over the connection that holds its lock. So one marking ends before another begins, and
    whoever has read a position can be sure that no lower one will still appear.
    """
    last = select(func.coalesce(func.max(Change.position), 0)).scalar_subquery()
    number = func.row_number().over(order_by=Change.revision)
    numbered = select(Change.revision, (last + number).label("position")).where(Change.revision.in_(revisions))
    marked = numbered.subquery()
    await connection.execute(
        update(Change)
        .where(Change.revision == marked.c.revision)
        .values(published_at=func.clock_timestamp(), position=marked.c.position)
    )


async def count_unpublished(session: AsyncSession) -> int:
    """How many changes wait to be published."""
    return await session.scalar(select(func.count()).where(Change.published_at.is_(None))) or 0


EXPIRY_LOCK = 0x65787069  # "expi"


async def try_lock_expiry(session: AsyncSession) -> bool:
    """Whether this transaction, and none beside it, is to remove what has expired."""
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(EXPIRY_LOCK))))


async def with_expired(session: AsyncSession, after: str, limit: int) -> Sequence[tuple[str, datetime]]:
    """The first tenants after that slug with an entry that has expired by now, the transaction's beginning; and now."""
    query = (
        select(Tenant.slug, func.now())
        .where(Tenant.next_expiry <= func.now(), Tenant.slug > after)
        .order_by(Tenant.slug)
        .limit(limit)
    )
    return [(slug, now) for slug, now in await session.execute(query)]


async def documents(
    connection: AsyncConnection, scope: Scope, after: str, limit: int
) -> Sequence[tuple[str, int, dict[str, object]]]:
    """Slug, revision and document of the first `limit` tenants whose slugs follow `after`."""
    query = (
        select(Tenant.slug, Tenant.revision, Tenant.document)
        .where(Tenant.slug > after, scope.where(Tenant.slug))
        .order_by(Tenant.slug)
        .limit(limit)
    )
    return [(row.slug, row.revision, row.document) for row in await connection.execute(query)]


async def history_of(redis: Redis) -> str:
    """Another value after each restart and failover, and whenever Redis took over the data of another one."""
    information: dict[str, Any] = await redis.info("replication")
    return str(information["master_replid"])


async def is_held(redis: Redis, epoch: str, history: str) -> bool:
    """Whether this Redis is the one with that history, and still has what was written to it as that epoch."""
    found: Any = await redis.get(EPOCH)
    return found is not None and (found.decode(), await history_of(redis)) == (epoch, history)
