"""Queries of the write path."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.auth.callers import Scope
from policy_service.database import NOTIFY_CHANNEL
from policy_service.models import REVISIONS, Change, Tenant


async def next_revision(session: AsyncSession) -> int:
    """A revision higher than any that the tenant has had; call it with the tenant's row locked."""
    return await session.scalar(REVISIONS.next_value()) or 0


async def record(session: AsyncSession, change: Change) -> None:
    """Write a change, and wake the publisher when the transaction commits."""
    session.add(change)
    await session.execute(select(func.pg_notify(NOTIFY_CHANNEL, "")))


async def last_revision(session: AsyncSession, scope: Scope, tenant: str) -> int | None:
    """The newest revision of a tenant, which is its deletion if it does not exist now."""
    query = select(func.max(Change.revision)).where(Change.tenant == tenant, scope.where(Change.tenant))
    return await session.scalar(query)


async def lock(session: AsyncSession, scope: Scope, slug: str) -> Tenant | None:
    """The tenant, its row locked until the transaction ends."""
    query = select(Tenant).where(Tenant.slug == slug, scope.where(Tenant.slug)).with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def insert_if_absent(session: AsyncSession, slug: str) -> Tenant | None:
    """A new, empty tenant's locked row, or None if there is one of that slug."""
    values = {"slug": slug, "revision": 0, "document": {}}
    statement = insert(Tenant).values(values).on_conflict_do_nothing().returning(Tenant)
    return (await session.execute(statement)).scalar_one_or_none()
