"""Queries for API keys. Keys are no part of a tenant: who may manage them is a matter of the role, not of a scope."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.callers import Role
from policy_service.models import ApiKey, HashSecret


class Found(NamedTuple):
    """What it takes to check a key."""

    hash_secret: bytes
    key: ApiKey | None


async def find_with_secret(session: AsyncSession, key_id: str) -> Found:
    """The key with that id, and what its hash is keyed with."""
    query = select(HashSecret.secret, ApiKey).outerjoin(ApiKey, ApiKey.id == key_id)
    return Found(*(await session.execute(query)).one())


async def hash_secret(session: AsyncSession) -> bytes:
    """What the hashes of keys are keyed with."""
    return (await session.execute(select(HashSecret.secret))).scalar_one()


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


async def note_use(session: AsyncSession, key_ids: Set[str], interval: timedelta) -> None:
    """Note that these keys are in use, unless that was noted within the interval."""
    query = update(ApiKey).where(
        ApiKey.id.in_(key_ids), or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - interval)
    )
    await session.execute(query.values(last_used_at=func.now()))
