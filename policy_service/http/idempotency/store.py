"""Queries for kept answers."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from policy_service.database import Session
from policy_service.models import KeptAnswer

LIFETIME = timedelta(hours=24)
MAX_PER_KEY = 10_000
CLEANING_LOCK = 0x69646D70  # "idmp"


async def try_lock(session: Session, actor: str, key: str) -> bool:
    """Whether nobody else is at a request of that actor and key; nobody else will be until the transaction ends."""
    name = func.hashtextextended(literal(f"{actor} {key}"), 0)
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(name))))


async def find(session: Session, actor: str, key: str) -> KeptAnswer | None:
    """The answer kept for that actor and key."""
    query = select(KeptAnswer).where(
        KeptAnswer.actor == actor,
        KeptAnswer.idempotency_key == key,
        KeptAnswer.created_at > func.now() - LIFETIME,
    )
    return (await session.execute(query)).scalar_one_or_none()


async def keep(
    session: Session, actor: str, key: str, fingerprint: str, status: int, headers: dict[str, str], body: bytes | None
) -> None:
    """Keep an answer, instead of one that is too old to count."""
    values = {"fingerprint": fingerprint, "status": status, "headers": headers, "body": body, "created_at": func.now()}
    statement = insert(KeptAnswer).values(actor=actor, idempotency_key=key, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["actor", "idempotency_key"], set_=values))


async def clean(session: Session) -> None:
    """Delete the answers that are too old, and of each actor the oldest that are too many; unless another does."""
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(CLEANING_LOCK))):
        return
    await session.execute(delete(KeptAnswer).where(KeptAnswer.created_at <= func.now() - LIFETIME))
    rank = func.row_number().over(partition_by=KeptAnswer.actor, order_by=KeptAnswer.created_at.desc())
    ranked = select(KeptAnswer.actor, KeptAnswer.idempotency_key, rank.label("rank")).subquery()
    too_many = select(ranked.c.actor, ranked.c.idempotency_key).where(ranked.c.rank > MAX_PER_KEY)
    await session.execute(delete(KeptAnswer).where(tuple_(KeptAnswer.actor, KeptAnswer.idempotency_key).in_(too_many)))
