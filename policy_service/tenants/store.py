"""Queries for tenants."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from policy_service.callers import Scope
from policy_service.models import Tenant

EXPIRY_LOCK = 0x65787069  # "expi"


async def find(session: AsyncSession, scope: Scope, slug: str) -> Tenant | None:
    """The tenant, as last committed."""
    query = select(Tenant).where(Tenant.slug == slug, scope.where(Tenant.slug))
    return (await session.execute(query)).scalar_one_or_none()


async def lock(session: AsyncSession, scope: Scope, slug: str) -> Tenant | None:
    """The tenant, its row locked until the transaction ends."""
    query = select(Tenant).where(Tenant.slug == slug, scope.where(Tenant.slug)).with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def known(session: AsyncSession, scope: Scope, slugs: Collection[str]) -> set[str]:
    """Those of the slugs that are tenants'."""
    query = select(Tenant.slug).where(Tenant.slug.in_(slugs), scope.where(Tenant.slug))
    return set((await session.execute(query)).scalars())


async def insert_if_absent(session: AsyncSession, slug: str) -> Tenant | None:
    """A new, empty tenant's locked row, or None if there is one of that slug."""
    values = {"slug": slug, "revision": 0, "document": {}}
    statement = insert(Tenant).values(values).on_conflict_do_nothing().returning(Tenant)
    return (await session.execute(statement)).scalar_one_or_none()


async def page(session: AsyncSession, scope: Scope, after: str | None, limit: int) -> Sequence[Tenant]:
    """The first `limit` tenants whose slugs follow `after`."""
    query = select(Tenant).where(scope.where(Tenant.slug)).order_by(Tenant.slug).limit(limit)
    if after is not None:
        query = query.where(Tenant.slug > after)
    return (await session.execute(query)).scalars().all()


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


async def sizes(session: AsyncSession, scope: Scope, after: str | None, limit: int) -> Sequence[int]:
    """How many bytes the documents of that page take, as they are stored."""
    query = select(func.pg_column_size(Tenant.document)).where(scope.where(Tenant.slug)).order_by(Tenant.slug)
    if after is not None:
        query = query.where(Tenant.slug > after)
    return (await session.execute(query.limit(limit))).scalars().all()


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
