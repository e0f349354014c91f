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
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def find(session: AsyncSession, scope: Scope, revision: int) -> Committed | None:
    """The change that made a revision."""
    age = extract("epoch", func.clock_timestamp() - Change.created_at)
    query = select(Change.tenant, age, Change.before, Change.after)
    row = (await session.execute(query.where(Change.revision == revision, visible_changes(scope)))).first()
    return None if row is None else Committed(row[0], float(row[1]), row[2], row[3])
