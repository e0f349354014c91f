"""Queries of the publisher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from policy_service.auth.callers import Scope
from policy_service.database import first_within
from policy_service.models import TERMS, Change, DatabaseIdentity, Leader, Publication, Tenant

BATCH = 200
BATCH_BYTES = 1024 * 1024
"""Of the documents of a batch, as JSON; at least one is read."""
SMALL_BYTES = 4 * 1024
"""Documents up to this size are read together with what names them."""
# Of a revision that PostgreSQL can still count up from: a sequence is never lifted to what is more.
MAX_LIFT = 10**12

# A copy of a database has the random number of the original, but not its cluster and name as well.
_IDENTITY = """
    (SELECT identity || '-' || left(encode(sha256(convert_to(
    cluster_identifier() || '/' || current_database(), 'UTF8')), 'hex'), 8) FROM database_identity)
"""
_TRUTH = text(f"""
    SELECT {_IDENTITY} AS identity, (SELECT epoch FROM publication) AS epoch,
    (SELECT coalesce(max(position), 0) FROM changes) AS position,
    (SELECT coalesce(max(revision), 0) FROM changes) AS newest, (SELECT last_value FROM revisions) AS last_revision
""")  # noqa: S608
_LIFT = text("SELECT setval('revisions', :floor) FROM revisions WHERE last_value < :floor")


class Unpublished(NamedTuple):
    """A change that Redis may not have yet."""

    revision: int
    tenant: str
    after: dict[str, Any] | None
    """The document; None for a deletion."""
    bytes: int
    """Of the document."""


class Truth(NamedTuple):
    """What the database knows of what it has published."""

    identity: str
    """Of this database, and of no other and no copy of it elsewhere."""
    epoch: str | None
    """None: it has never published."""
    position: int
    """Of the change that was published last."""
    newest: int
    """The highest revision of any change."""
    last_revision: int
    """What the sequence of revisions gave last."""


async def truth(connection: AsyncConnection) -> Truth:
    """What the database knows, at one moment."""
    return Truth(*(await connection.execute(_TRUTH)).one())


async def identity(session: AsyncSession) -> str:
    """The identity of this database."""
    identity: str = (await session.execute(text(f"SELECT {_IDENTITY}"))).scalar_one()
    return identity


async def replace_identity(session: AsyncSession, random: str) -> None:
    """Give this database another identity than its copies have."""
    await session.execute(update(DatabaseIdentity).values(identity=random))


async def next_term(connection: AsyncConnection, above: int | None = None) -> int:
    """A term that no leader has had; higher than `above`, which another database, or a later state of it, has given."""
    if above is None:
        return await connection.scalar(select(TERMS.next_value())) or 0
    return await connection.scalar(select(func.setval("publisher_terms", above + 1))) or 0


async def lift_revisions(connection: AsyncConnection, floor: int) -> bool:
    """Let the next revision be higher than `floor`; whether it would not have been."""
    return (await connection.execute(_LIFT, {"floor": min(floor, MAX_LIFT)})).first() is not None


async def name_epoch(connection: AsyncConnection, epoch: str) -> None:
    """Note that everything was written to Redis as this epoch."""
    statement = insert(Publication).values(id=1, epoch=epoch)
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"epoch": epoch}))


async def unpublished(connection: AsyncConnection) -> list[Unpublished]:
    """The first changes that are not marked as published, in order of their revision.

    Not "those after the last one": a transaction that took its revision early may commit late.
    """
    size = func.coalesce(Change.document_bytes, 0)
    # Most changes are of small documents, and are read at once.
    document = case((size <= SMALL_BYTES, Change.after))
    first = (
        select(Change.revision, Change.tenant, document, size)
        .where(Change.published_at.is_(None))
        .order_by(Change.revision)
        .limit(BATCH)
    )
    found = [Unpublished(*row) for row in await connection.execute(first)]
    batch = list(first_within(BATCH_BYTES, found, lambda change: change.bytes))
    large = [change.revision for change in batch if change.bytes > SMALL_BYTES]
    if large:
        query = select(Change.revision, Change.after).where(Change.revision.in_(large))
        documents = {row.revision: row.after for row in await connection.execute(query)}
        batch = [c._replace(after=documents[c.revision]) if c.bytes > SMALL_BYTES else c for c in batch]
    return batch


def _batch(rows: Sequence[Any]) -> list[Any]:
    """The keys of the first rows, as many as a batch holds; a row is a key and the bytes of its document."""
    return [key for key, _ in first_within(BATCH_BYTES, rows, lambda row: row.document_bytes or 0)]


async def are_superseded(connection: AsyncConnection, held: Mapping[str, int]) -> bool:
    """Whether each of these tenants has had, in this database, what is held of it, and stands there or later.

    It does not where revisions were given twice: after a restore, or if the sequence was set back.
    """
    is_deletion = and_(Change.after.is_(None), Change.compacted_at.is_(None))
    newest = (
        select(Change.tenant, Change.revision, is_deletion)
        .where(Change.tenant.in_(held))
        .distinct(Change.tenant)
        .order_by(Change.tenant, Change.revision.desc())
    )
    current = {tenant: revision for tenant, revision, is_deleted in await connection.execute(newest) if is_deleted}
    present = select(Tenant.slug, Tenant.revision).where(Tenant.slug.in_(held))
    current |= {row.slug: row.revision for row in await connection.execute(present)}
    known = select(Change.tenant).where(tuple_(Change.tenant, Change.revision).in_(held.items()))
    return held.keys() == set((await connection.execute(known)).scalars()) and all(
        current.get(tenant, 0) >= revision for tenant, revision in held.items()
    )


async def published_revisions(connection: AsyncConnection) -> dict[str, int]:
    """The tenants whose documents are marked as published, and at which revisions."""
    newest = (
        select(Change.tenant, Change.revision, and_(Change.after.is_(None), Change.compacted_at.is_(None)))
        .where(Change.published_at.is_not(None))
        .distinct(Change.tenant)
        .order_by(Change.tenant, Change.revision.desc())
    )
    return {tenant: revision for tenant, revision, is_deleted in await connection.execute(newest) if not is_deleted}


async def is_unpublished(connection: AsyncConnection, revision: int) -> bool:
    """Whether there is such a change, and it is not marked as published."""
    query = select(Change.revision).where(Change.revision == revision, Change.published_at.is_(None))
    return await connection.scalar(query) is not None


async def mark_published(connection: AsyncConnection, revisions: Sequence[int]) -> None:
    """Note that Redis has these changes, and number them in this order.

    Only the leader marks, over the connection that holds its lock. So one marking ends before another begins, and
    a reader of a position can be sure that no lower one will appear later.
    """
    last = select(func.coalesce(func.max(Change.position), 0)).scalar_subquery()
    number = func.row_number().over(order_by=Change.revision)
    numbered = select(Change.revision, (last + number).label("position")).where(Change.revision.in_(revisions))
    marked = numbered.subquery()
    await connection.execute(
        update(Change)
        .where(Change.revision == marked.c.revision)
        .values(published_at=func.clock_timestamp(), position=marked.c.position)
    )


class Waiting(NamedTuple):
    """The changes that wait to be published."""

    number: int
    seconds: float | None
    """How long the oldest has waited; None if there is none."""


async def waiting(session: AsyncSession) -> Waiting:
    """How many changes wait to be published, and for how long."""
    age = func.extract("epoch", func.clock_timestamp() - func.min(Change.created_at))
    number, seconds = (await session.execute(select(func.count(), age).where(Change.published_at.is_(None)))).one()
    return Waiting(number, None if seconds is None else float(seconds))


async def note_problems(connection: AsyncConnection, problems: Sequence[str]) -> None:
    """Let the other replicas know what keeps the leader from publishing. Writes nothing where they know."""
    statement = update(Leader).where(Leader.problems != list(problems))
    await connection.execute(statement.values(problems=list(problems)))


async def leaders_problems(session: AsyncSession) -> list[str]:
    """What keeps the leader from publishing, as it noted it last."""
    return await session.scalar(select(Leader.problems)) or []


EXPIRY_LOCK = 0x65787069  # "expi"


async def try_lock_expiry(session: AsyncSession) -> bool:
    """Whether this transaction, and none beside it, is to remove what has expired."""
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(EXPIRY_LOCK))))


async def with_expired(
    session: AsyncSession, delay: timedelta, after: str, limit: int
) -> Sequence[tuple[str, datetime]]:
    """The first tenants after that slug with an entry that expired so long ago, each with the transaction's beginning.

    What has expired since is removed with it: of one tenant there is one removal in that time, however many expire.
    """
    query = (
        select(Tenant.slug, func.now())
        .where(Tenant.next_expiry <= func.now() - delay, Tenant.slug > after)
        .order_by(Tenant.slug)
        .limit(limit)
    )
    return [(slug, now) for slug, now in await session.execute(query)]


async def documents(
    connection: AsyncConnection, scope: Scope, after: str
) -> Sequence[tuple[str, int, dict[str, object]]]:
    """Slug, revision and document of the first tenants whose slugs follow `after`, as many as a batch holds."""
    first = (
        select(Tenant.slug, Tenant.document_bytes)
        .where(Tenant.slug > after, scope.where(Tenant.slug))
        .order_by(Tenant.slug)
        .limit(BATCH)
    )
    query = select(Tenant.slug, Tenant.revision, Tenant.document).order_by(Tenant.slug)
    while slugs := _batch((await connection.execute(first)).all()):
        rows = await connection.execute(query.where(Tenant.slug.in_(slugs)))
        # All of them may have been deleted meanwhile: that is not the end of the tenants.
        if found := [(row.slug, row.revision, row.document) for row in rows]:
            return found
        first = first.where(Tenant.slug > slugs[-1])
    return []
