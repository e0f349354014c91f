"""Makes a Redis that another database, or a copy of this one, publishes to this database's own."""

from __future__ import annotations

import secrets
from typing import Any

from redis.asyncio import Redis

from corspolicy.sync.wire import DATABASE_FIELD, Keys
from policy_service.database import Sessions
from policy_service.publisher import store


async def owner(redis: Redis, keys: Keys) -> str | None:
    """The identity of the database that Redis's policies are from; None if they are nobody's."""
    if await redis.type(keys.identity) != b"hash":
        return None
    found: Any = await redis.hget(keys.identity, DATABASE_FIELD.decode())
    return None if found is None else found.decode("utf-8", "replace")


async def take_over(sessions: Sessions, redis: Redis, keys: Keys) -> str:
    """Give the database a new identity, and Redis the same; the publisher then writes everything. Returns it.

    New, so that a copy of this database no longer takes that Redis for its own.
    """
    async with sessions.begin() as session:
        await store.replace_identity(session, secrets.token_hex(8))
        identity = await store.identity(session)
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(keys.identity, keys.epoch, keys.term)
        pipeline.hset(keys.identity, DATABASE_FIELD.decode(), identity)
        await pipeline.execute()
    return identity
