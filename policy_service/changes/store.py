"""Queries for changes: writing one, and reading those that are not published yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from policy_service.models import REVISIONS, Change

NOTIFY_CHANNEL = "corspolicy_changes"


class Unpublished(NamedTuple):
    """A change that Redis may not have yet."""

    revision: int
    tenant: str
    after: dict[str, Any] | None


async def next_revision(session: AsyncSession) -> int:
    """A revision higher than any that the tenant has had; call it with the tenant's row locked."""
    return await session.scalar(REVISIONS.next_value()) or 0


async def record(session: AsyncSession, change: Change) -> None:
    """Write a change, and wake the publisher when the transaction commits."""
    session.add(change)
    await session.execute(select(func.pg_notify(NOTIFY_CHANNEL, "")))


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
