"""Queries of the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from policy_service.auth.callers import Scope
from policy_service.changes.visibility import visible_changes
from policy_service.models import Change


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


async def find(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """One change, with its documents."""
    conditions = (Change.revision == revision, Change.tenant == tenant, visible_changes(scope))
    return (await session.execute(select(Change).where(*conditions))).scalar_one_or_none()


async def find_last(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """The last change of a tenant up to a revision, which may be another tenant's."""
    conditions = (Change.revision <= revision, Change.tenant == tenant, visible_changes(scope))
    query = select(Change).where(*conditions).order_by(Change.revision.desc()).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


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
    query = select(Change).where(visible_changes(scope), *filters.conditions())
    return query.options(defer(Change.before), defer(Change.after))
