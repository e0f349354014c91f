"""Queries of stored responses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from policy_service.database import Session
from policy_service.models import StoredResponse

LIFETIME = timedelta(hours=24)
MAX_PER_KEY = 10_000
CLEANING_LOCK = 0x69646D70  # "idmp"


async def try_lock(session: Session, actor: str, key: str) -> bool:
    """Whether no other request of that actor and key is in progress. None can begin until the transaction ends."""
    name = func.hashtextextended(literal(f"{actor} {key}"), 0)
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(name))))


async def find(session: Session, actor: str, key: str) -> StoredResponse | None:
    """The response stored for that actor and key."""
    query = select(StoredResponse).where(
        StoredResponse.actor == actor,
        StoredResponse.idempotency_key == key,
        StoredResponse.created_at > func.now() - LIFETIME,
    )
    return (await session.execute(query)).scalar_one_or_none()


async def put(session: Session, actor: str, key: str, fingerprint: str, values: dict[str, Any]) -> None:
    """Store a response in place of one that is too old to count."""
    values = {**values, "fingerprint": fingerprint, "created_at": func.now()}
    statement = insert(StoredResponse).values(actor=actor, idempotency_key=key, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["actor", "idempotency_key"], set_=values))


async def clean(session: Session) -> None:
    """Delete responses that are too old, and of each actor the oldest of too many; nothing if another process does."""
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(CLEANING_LOCK))):
        return
    await session.execute(delete(StoredResponse).where(StoredResponse.created_at <= func.now() - LIFETIME))
    rank = func.row_number().over(partition_by=StoredResponse.actor, order_by=StoredResponse.created_at.desc())
    ranked = select(StoredResponse.actor, StoredResponse.idempotency_key, rank.label("rank")).subquery()
    too_many = select(ranked.c.actor, ranked.c.idempotency_key).where(ranked.c.rank > MAX_PER_KEY)
    await session.execute(
        delete(StoredResponse).where(tuple_(StoredResponse.actor, StoredResponse.idempotency_key).in_(too_many))
    )
