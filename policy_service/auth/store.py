"""Queries of authentication."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.models import ApiKey, HashSecret


class KeyRecord(NamedTuple):
    """What it takes to check a key."""

    hash_secret: bytes
    key: ApiKey | None


async def find_with_secret(session: AsyncSession, key_id: str) -> KeyRecord:
    """The key with that id, and what its hash is keyed with."""
    query = select(HashSecret.secret, ApiKey).outerjoin(ApiKey, ApiKey.id == key_id)
    return KeyRecord(*(await session.execute(query)).one())


async def hash_secret(session: AsyncSession) -> bytes:
    """What the hashes of keys are keyed with."""
    return (await session.execute(select(HashSecret.secret))).scalar_one()


async def valid_keys(session: AsyncSession, key_ids: Iterable[str]) -> frozenset[str]:
    """Which of these keys are neither revoked nor expired."""
    is_valid = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
    return frozenset(await session.scalars(select(ApiKey.id).where(ApiKey.id.in_(list(key_ids)), is_valid)))


async def note_use(session: AsyncSession, key_ids: Set[str], interval: timedelta) -> None:
    """Note that these keys are in use, unless that was noted within the interval."""
    query = update(ApiKey).where(
        ApiKey.id.in_(key_ids), or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - interval)
    )
    await session.execute(query.values(last_used_at=func.now()))
