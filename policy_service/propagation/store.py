"""Queries about how far changes have come."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import extract, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.auth.callers import Scope
from policy_service.changes.visibility import visible_changes
from policy_service.models import Change


class Committed(NamedTuple):
    """A change, and how long ago it was made, in seconds."""

    tenant: str
    age: float


class Documents(NamedTuple):
    """A tenant's document before a change and after it; None where there was none."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def find(session: AsyncSession, scope: Scope, revision: int) -> Committed | None:
    """The change that made a revision."""
    age = extract("epoch", func.clock_timestamp() - Change.created_at)
    query = select(Change.tenant, age)
    row = (await session.execute(query.where(Change.revision == revision, visible_changes(scope)))).first()
    return None if row is None else Committed(row[0], float(row[1]))


async def documents(session: AsyncSession, tenant: str, revision: int) -> Documents | None:
    """The documents before and after a tenant's change; None if one of them is no longer stored."""
    query = select(Change.after, Change.compacted_at).where(Change.tenant == tenant, Change.revision <= revision)
    rows = (await session.execute(query.order_by(Change.revision.desc()).limit(2))).all()
    if any(row.compacted_at is not None for row in rows):
        return None
    return Documents(rows[1].after if len(rows) > 1 else None, rows[0].after)
