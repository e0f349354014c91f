"""Queries for tenants."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.auth.callers import Scope
from policy_service.models import Tenant


async def find(session: AsyncSession, scope: Scope, slug: str) -> Tenant | None:
    """The tenant, as last committed."""
    query = select(Tenant).where(Tenant.slug == slug, scope.where(Tenant.slug))
    return (await session.execute(query)).scalar_one_or_none()


async def known(session: AsyncSession, scope: Scope, slugs: Collection[str]) -> set[str]:
    """Those of the slugs that are tenants'."""
    query = select(Tenant.slug).where(Tenant.slug.in_(slugs), scope.where(Tenant.slug))
    return set((await session.execute(query)).scalars())


async def page(session: AsyncSession, scope: Scope, after: str | None, limit: int) -> Sequence[Tenant]:
    """The first `limit` tenants whose slugs follow `after`."""
    query = select(Tenant).where(scope.where(Tenant.slug)).order_by(Tenant.slug).limit(limit)
    if after is not None:
        query = query.where(Tenant.slug > after)
    return (await session.execute(query)).scalars().all()


async def sizes(session: AsyncSession, scope: Scope, after: str | None, limit: int) -> Sequence[int]:
    """How many bytes the documents of that page take, as they are stored."""
    query = select(func.pg_column_size(Tenant.document)).where(scope.where(Tenant.slug)).order_by(Tenant.slug)
    if after is not None:
        query = query.where(Tenant.slug > after)
    return (await session.execute(query.limit(limit))).scalars().all()
