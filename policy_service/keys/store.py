"""Queries for API keys."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.models import ApiKey


async def find(session: AsyncSession, key_id: str) -> ApiKey | None:
    """The key with that id."""
    return await session.get(ApiKey, key_id)


async def is_empty(session: AsyncSession) -> bool:
    """Whether no key was made yet."""
    return (await session.execute(select(ApiKey.id).limit(1))).first() is None


def add(session: AsyncSession, key_id: str, digest: str, description: str) -> None:
    """Store a new key."""
    session.add(ApiKey(id=key_id, digest=digest, description=description))
