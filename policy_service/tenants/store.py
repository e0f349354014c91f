"""Queries for tenants."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from policy_service.models import Tenant


async def find(session: AsyncSession, slug: str) -> Tenant | None:
    """The tenant, as last committed."""
    return await session.get(Tenant, slug)


async def lock(session: AsyncSession, slug: str) -> Tenant | None:
    """The tenant, its row locked until the transaction ends."""
    return await session.get(Tenant, slug, with_for_update=True)


async def insert_if_absent(session: AsyncSession, slug: str) -> Tenant | None:
    """A new, empty tenant's locked row, or None if there is one of that slug."""
    values = {"slug": slug, "revision": 0, "document": {}}
    statement = insert(Tenant).values(values).on_conflict_do_nothing().returning(Tenant)
    return (await session.execute(statement)).scalar_one_or_none()


async def page(session: AsyncSession, after: str | None, limit: int) -> Sequence[Tenant]:
    """The first `limit` tenants whose slugs follow `after`."""
    query = select(Tenant).order_by(Tenant.slug).limit(limit)
    if after is not None:
        query = query.where(Tenant.slug > after)
    return (await session.execute(query)).scalars().all()


async def documents(
    connection: AsyncConnection, after: str, limit: int
) -> Sequence[tuple[str, int, dict[str, object]]]:
    """Slug, revision and document of the first `limit` tenants whose slugs follow `after`."""
    query = (
        select(Tenant.slug, Tenant.revision, Tenant.document)
        .where(Tenant.slug > after)
        .order_by(Tenant.slug)
        .limit(limit)
    )
    return [(row.slug, row.revision, row.document) for row in await connection.execute(query)]
