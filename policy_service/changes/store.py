"""Queries for changes: writing them, publishing them, reading their history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import defer

from policy_service.callers import Scope
from policy_service.models import REVISIONS, Change

NOTIFY_CHANNEL = "corspolicy_changes"


class Unpublished(NamedTuple):
    """A change that Redis may not have yet."""

    revision: int
    tenant: str
    after: dict[str, Any] | None


class Filters(NamedTuple):
    """Which changes are wanted."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same as conditions of a query."""
        conditions: list[ColumnElement[bool]] = []
        if self.tenant is not None:
            conditions.append(Change.tenant == self.tenant)
        if self.actor is not None:
            conditions.append(or_(Change.actor == self.actor, Change.subject == self.actor))
        if self.action is not None:
            conditions.append(Change.action == self.action)
        if self.since is not None:
            conditions.append(Change.created_at >= self.since)
        if self.until is not None:
            conditions.append(Change.created_at < self.until)
        return conditions


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


async def find(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """One change, with its documents."""
    conditions = (Change.revision == revision, Change.tenant == tenant, scope.where(Change.tenant))
    return (await session.execute(select(Change).where(*conditions))).scalar_one_or_none()


async def find_last(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """The last change of a tenant up to a revision, which may be another tenant's."""
    conditions = (Change.revision <= revision, Change.tenant == tenant, scope.where(Change.tenant))
    query = select(Change).where(*conditions).order_by(Change.revision.desc()).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


async def last_revision(session: AsyncSession, scope: Scope, tenant: str) -> int | None:
    """The newest revision of a tenant, which is its deletion if there is none of that slug now."""
    query = select(func.max(Change.revision)).where(Change.tenant == tenant, scope.where(Change.tenant))
    return await session.scalar(query)


async def page(
    session: AsyncSession, scope: Scope, filters: Filters, before: int | None, limit: int
) -> Sequence[Change]:
    """The newest changes, below the revision `before`, without their documents."""
    query = _listed(scope, filters).order_by(Change.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(Change.revision < before)
    return (await session.execute(query)).scalars().all()


async def last_position(session: AsyncSession) -> int:
    """The position of the change that was published last."""
    return await session.scalar(select(func.max(Change.position))) or 0


async def published(
    session: AsyncSession, scope: Scope, filters: Filters, after: int, last: int, limit: int
) -> Sequence[Change]:
    """The first changes of those positions, without their documents."""
    query = _listed(scope, filters).where(Change.position > after, Change.position <= last)
    return (await session.execute(query.order_by(Change.position).limit(limit))).scalars().all()


def _listed(scope: Scope, filters: Filters) -> Select[Change]:
    query = select(Change).where(scope.where(Change.tenant), *filters.conditions())
    return query.options(defer(Change.before), defer(Change.after))
