"""Queries of the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, func, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from policy_service.auth.callers import Scope
from policy_service.changes.visibility import visible_changes
from policy_service.database import PAGE_BYTES, first_within
from policy_service.models import Change, Tenant

# What a change has beside its difference, as JSON; its reason may be 500 characters of four bytes.
_FIELDS_BYTES = 3000


class Filters(NamedTuple):
    """Which changes are wanted."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same as conditions of a query."""
        conditions: list[ColumnElement[bool]] = []
        if self.tenant is not None:
            conditions.append(Change.tenant == self.tenant)
        if self.actor is not None:
            conditions.append(or_(Change.actor == self.actor, Change.subject == self.actor))
        if self.action is not None:
            conditions.append(Change.action == self.action)
        if self.since is not None:
            conditions.append(Change.created_at >= self.since)
        if self.until is not None:
            conditions.append(Change.created_at < self.until)
        return conditions


async def find(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """One change, with its documents."""
    conditions = (Change.revision == revision, Change.tenant == tenant, visible_changes(scope))
    return (await session.execute(select(Change).where(*conditions))).scalar_one_or_none()


async def find_last(session: AsyncSession, scope: Scope, tenant: str, revision: int) -> Change | None:
    """The last change of a tenant up to a revision, which may be another tenant's."""
    conditions = (Change.revision <= revision, Change.tenant == tenant, visible_changes(scope))
    query = select(Change).where(*conditions).order_by(Change.revision.desc()).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


async def oldest_with_document(session: AsyncSession, scope: Scope, tenant: str) -> int | None:
    """The oldest revision of a tenant whose document is stored."""
    conditions = (Change.tenant == tenant, Change.document_bytes.is_not(None), visible_changes(scope))
    return await session.scalar(select(func.min(Change.revision)).where(*conditions))


async def page(
    session: AsyncSession, scope: Scope, filters: Filters, below: int | None, limit: int
) -> tuple[Sequence[Change], int | None]:
    """The newest changes below a revision, without their documents, and below which revision to read on.

    They are at most `limit`, and have `PAGE_BYTES` together.
    """
    query = _sizes(scope, filters).order_by(Change.revision.desc())
    if below is not None:
        query = query.where(Change.revision < below)
    found = (await session.execute(query.limit(limit + 1))).all()
    revisions = [row.revision for row in first_within(PAGE_BYTES, found[:limit], _size)]
    rows = await session.execute(_listed(revisions).order_by(Change.revision.desc()))
    return rows.scalars().all(), revisions[-1] if len(found) > len(revisions) else None


async def last_position(session: AsyncSession) -> int:
    """The position of the change that was published last."""
    return await session.scalar(select(func.max(Change.position))) or 0


async def published(
    session: AsyncSession, scope: Scope, filters: Filters, after: int, last: int, limit: int, most: int
) -> tuple[Sequence[Change], bool]:
    """The first changes of those positions, without their documents; and whether there are more.

    They are at most `limit`, and have `most` bytes together.
    """
    query = _sizes(scope, filters).where(Change.position > after, Change.position <= last).order_by(Change.position)
    found = (await session.execute(query.limit(limit + 1))).all()
    revisions = [row.revision for row in first_within(most, found[:limit], _size)]
    rows = await session.execute(_listed(revisions).order_by(Change.position))
    return rows.scalars().all(), len(found) > len(revisions)


COMPACTION_LOCK = 0x636F6D70  # "comp"


async def try_lock_compaction(session: AsyncSession) -> bool:
    """Whether this transaction, and none beside it, is to remove documents of old revisions."""
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(COMPACTION_LOCK))))


class Kept(NamedTuple):
    """What of a tenant's documents stays in the history."""

    time: timedelta
    """For so long after another has replaced it."""
    bytes: int
    """The newest, so many bytes together."""


async def compactable(
    session: AsyncSession, kept: Kept, since: int | None, last: int, after: str, limit: int
) -> Sequence[str]:
    """The first tenants after that slug that may have documents to remove.

    Of those with changes of the positions after `since`, up to `last`; of all with None.
    """
    query = select(Change.tenant).where(Change.document_bytes.is_not(None), Change.tenant > after)
    if since is not None:
        changed = select(Change.tenant).where(Change.position > since, Change.position <= last)
        query = query.where(Change.tenant.in_(changed))
    # One that exists and has but one document has only its current one.
    has_former = or_(func.count() > 1, Change.tenant.not_in(select(Tenant.slug)))
    is_old = and_(func.min(Change.created_at) < func.now() - kept.time, has_former)
    found = query.group_by(Change.tenant).having(or_(func.sum(Change.document_bytes) > kept.bytes, is_old))
    return (await session.execute(found.order_by(Change.tenant).limit(limit))).scalars().all()


async def compact(session: AsyncSession, tenant: str, kept: Kept, limit: int) -> int:
    """Remove the first documents of a tenant that are not to stay, at most `limit`; how many that were."""
    newest_first = Change.revision.desc()
    total = func.sum(Change.document_bytes).over(order_by=newest_first)
    replaced_at = func.lag(Change.created_at).over(order_by=newest_first)
    documents = (
        select(Change.revision, total.label("total"), replaced_at.label("replaced_at"))
        .where(Change.tenant == tenant, Change.document_bytes.is_not(None))
        .subquery()
    )
    current = select(Tenant.revision).where(Tenant.slug == tenant).scalar_subquery()
    unpublished = select(Change.revision).where(Change.published_at.is_(None))
    # Literal, so that PostgreSQL sees that its index of deletions will do.
    is_deletion = Change.action == literal_column("'tenant.delete'")
    deleted_at = select(func.max(Change.created_at)).where(Change.tenant == tenant, is_deletion).scalar_subquery()
    surplus = (
        select(documents.c.revision)
        .where(documents.c.revision.is_distinct_from(current), documents.c.revision.not_in(unpublished))
        .where(
            or_(
                documents.c.total > kept.bytes,
                func.coalesce(documents.c.replaced_at, deleted_at) < func.now() - kept.time,
            )
        )
        .order_by(documents.c.revision)
        .limit(limit)
    )
    done = await session.execute(
        update(Change)
        .where(Change.revision.in_(surplus))
        .values(after=None, compacted_at=func.now())
        .returning(Change.revision)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())


def _sizes(scope: Scope, filters: Filters) -> Select[int, int]:
    return select(Change.revision, Change.difference_bytes).where(visible_changes(scope), *filters.conditions())


def _size(row: Row[int, int]) -> int:
    size: int = row.difference_bytes
    return size + _FIELDS_BYTES


def _listed(revisions: Sequence[int]) -> Select[Change]:
    return select(Change).where(Change.revision.in_(revisions)).options(defer(Change.after))
