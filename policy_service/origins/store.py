"""Queries of the index of allowed patterns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, any_, bindparam, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.core.patterns import ANY
from policy_service.auth.callers import Scope
from policy_service.models import AllowedPattern


class Position(NamedTuple):
    """Where a page ends: at an entry."""

    pattern: str
    tenant: str
    policy: str


async def page(
    session: AsyncSession, scope: Scope, patterns: Sequence[str], after: Position | None, limit: int
) -> Sequence[AllowedPattern]:
    """The first `limit` entries of these patterns that follow a position, by pattern, tenant and policy."""
    rows: list[AllowedPattern] = []
    if after is not None:
        # A query of its own, because PostgreSQL finds its start in the index only where the pattern is one value.
        rest = tuple_(AllowedPattern.tenant, AllowedPattern.policy) > tuple_(
            literal(after.tenant), literal(after.policy)
        )
        query = _listed(scope, limit).where(AllowedPattern.pattern == after.pattern, rest)
        rows += (await session.execute(query)).scalars()
        patterns = [pattern for pattern in patterns if pattern > after.pattern]
    if patterns and len(rows) < limit:
        wanted = bindparam("patterns", patterns, ARRAY(TEXT))
        query = _listed(scope, limit - len(rows)).where(AllowedPattern.pattern == any_(wanted))
        rows += (await session.execute(query)).scalars()
    return rows


async def count_of_any(session: AsyncSession, scope: Scope, most: int) -> int:
    """How many entries allow every origin; counts to `most`."""
    entries = select(AllowedPattern.tenant).where(AllowedPattern.pattern == ANY, scope.where(AllowedPattern.tenant))
    return await session.scalar(select(func.count()).select_from(entries.limit(most).subquery())) or 0


def _listed(scope: Scope, limit: int) -> Select[AllowedPattern]:
    query = select(AllowedPattern).where(scope.where(AllowedPattern.tenant)).limit(limit)
    return query.order_by(AllowedPattern.pattern, AllowedPattern.tenant, AllowedPattern.policy)
