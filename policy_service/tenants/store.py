"""Queries for tenants."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.auth.callers import Scope
from policy_service.database import PAGE_BYTES, first_within
from policy_service.models import Tenant


async def find(session: AsyncSession, scope: Scope, slug: str) -> Tenant | None:
    """The tenant, as last committed."""
    query = select(Tenant).where(Tenant.slug == slug, scope.where(Tenant.slug))
    return (await session.execute(query)).scalar_one_or_none()


async def known(session: AsyncSession, scope: Scope, slugs: Collection[str]) -> set[str]:
    """Those of the slugs that are tenants'."""
    query = select(Tenant.slug).where(Tenant.slug.in_(slugs), scope.where(Tenant.slug))
    return set((await session.execute(query)).scalars())


async def page(
    session: AsyncSession, scope: Scope, after: str | None, limit: int
) -> tuple[Sequence[Tenant], str | None]:
    """The first tenants whose slugs follow `after`, at most `limit` and `PAGE_BYTES`; after which slug to read on."""
    query = select(Tenant.slug, Tenant.document_bytes).where(scope.where(Tenant.slug)).order_by(Tenant.slug)
    if after is not None:
        query = query.where(Tenant.slug > after)
    found = (await session.execute(query.limit(limit + 1))).all()
    slugs = [row.slug for row in first_within(PAGE_BYTES, found[:limit], lambda row: row.document_bytes)]
    rows = await session.execute(select(Tenant).where(Tenant.slug.in_(slugs)).order_by(Tenant.slug))
    return rows.scalars().all(), slugs[-1] if len(found) > len(slugs) else None
