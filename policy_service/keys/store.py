"""Queries for API keys. Keys are no part of a tenant: who may manage them is a matter of the role, not of a scope."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.auth.callers import Role
from policy_service.models import ApiKey


async def find(session: AsyncSession, key_id: str) -> ApiKey | None:
    """The key with that id."""
    return await session.get(ApiKey, key_id)


async def lock(session: AsyncSession, key_id: str) -> ApiKey | None:
    """The key with that id, its row locked until the transaction ends."""
    return await session.get(ApiKey, key_id, with_for_update=True)


async def lock_admins(session: AsyncSession, now: datetime) -> Sequence[str]:
    """The ids of the admin keys that are valid, their rows locked until the transaction ends."""
    query = (
        select(ApiKey.id)
        .where(ApiKey.role == Role.ADMIN, ApiKey.revoked_at.is_(None))
        .where(or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
        .order_by(ApiKey.id)
        .with_for_update()
    )
    return (await session.execute(query)).scalars().all()


async def page(session: AsyncSession, after: str | None, limit: int) -> Sequence[ApiKey]:
    """The newest `limit` keys older than that with the id `after`."""
    age = tuple_(ApiKey.created_at, ApiKey.id)
    query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id.desc()).limit(limit)
    if after is not None:
        query = query.where(age < select(ApiKey.created_at, ApiKey.id).where(ApiKey.id == after).scalar_subquery())
    return (await session.execute(query)).scalars().all()


async def is_empty(session: AsyncSession) -> bool:
    """Whether no key was made yet."""
    return (await session.execute(select(ApiKey.id).limit(1))).first() is None


async def add(session: AsyncSession, key: ApiKey) -> None:
    """Store a new key; the database dates it."""
    session.add(key)
    await session.flush()
    await session.refresh(key)
