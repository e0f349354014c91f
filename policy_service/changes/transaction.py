"""The one way in which a tenant changes: lock, edit, compare, check, write the state and its record, all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import accumulate

from corspolicy.core.names import is_slug
from policy_service.changes import index, store
from policy_service.changes.request import ChangeRequest
from policy_service.changes.results import DryRun
from policy_service.database import Session, Sessions
from policy_service.documents.difference import Difference, compare
from policy_service.documents.model import StoredDocument
from policy_service.documents.quotas import check_limits, size_of_document
from policy_service.documents.removed_origins import confirmation_required, removed_origins
from policy_service.errors import ErrorItem, unknown_tenant
from policy_service.models import Change as ChangeRecord
from policy_service.models import Tenant

MAX_DIFFERENCE = 100
MAX_DIFFERENCE_BYTES = 64 * 1024
"""What is stored of a difference, for good."""


class Change:
    """A change of one tenant under way: edit `document`, then read what came of it."""

    def __init__(self, row: Tenant, revision: int, action: str) -> None:
        self.tenant = row.slug
        self.action = action
        self.before = StoredDocument.model_validate(row.document) if row.document else None
        """The current document; None where the tenant does not exist."""
        self.document = StoredDocument.model_validate(row.document)
        """The document to edit; what it is at the end of the block is written."""
        self.warnings: Sequence[ErrorItem] = ()
        """What may not do what the caller expects."""
        self.revision = revision
        """The tenant's revision: the current one, and after the block the one that was made."""
        self.created_at = row.created_at
        self.difference: Sequence[Difference] = ()
        """After the block: how the document changed, the first items, as many as are stored."""
        self.omitted = 0
        """After the block: how many more items the difference has."""
        self.dry_run: DryRun | None = None
        """After the block: what the change would have done, where that was all that was asked for."""
        self.deletes = False
        self.is_made = False
        """After the block: whether it made a revision."""

    def delete(self) -> None:
        """Delete the tenant with all its policies."""
        self.deletes = True

    @property
    def after(self) -> StoredDocument | None:
        """The document as it is to be written; None for a deletion."""
        return None if self.deletes else self.document


@asynccontextmanager
async def changing(
    sessions: Sessions, tenant: str, request: ChangeRequest, action: str, *, may_create: bool = False
) -> AsyncIterator[Change]:
    """Change a tenant in one transaction: what the block makes of `document` is compared, checked and recorded.

    The tenant's row is locked meanwhile. An equal document makes no revision, a dry run writes nothing. With
    `may_create`, a tenant that does not exist is created, which takes an admin key; its revision is that of its last
    deletion, or 0. Raises Problem: 404 for an unknown tenant, 403 for a key that may not, 409 for origins removed
    without confirmation, 422 for a document over its limits; and whatever the block raises, with nothing written.
    """
    request.caller.require_write(tenant)
    scope = request.caller.scope
    async with sessions.begin() as session:
        row = await store.lock(session, scope, tenant) if is_slug(tenant) else None
        revision = 0 if row is None else row.revision
        if row is None and may_create:
            request.caller.require_admin()
            # Of two that create it at once, the second waits here, and changes what the first created.
            row = await store.insert_if_absent(session, tenant) or await store.lock(session, scope, tenant)
            revision = await store.last_revision(session, scope, tenant) or 0
        if row is None:
            raise unknown_tenant(tenant)
        change = await request.check(size_of_document(row.document), Change, row, revision, action)
        yield change
        await _complete(session, request, row, change)


async def _complete(session: Session, request: ChangeRequest, row: Tenant, change: Change) -> None:
    """Check what the block made of the document; write and record it, unless nothing differs or it is a dry run."""
    before, after = change.before, change.after
    size = sum(len(policy.allow_origins) for each in (before, after) if each for policy in each.policies.values())
    removed = await request.check(size, _compare, request, change)
    if request.dry_run:
        change.dry_run = DryRun(
            tenant=change.tenant,
            revision=None if before is None else change.revision,
            document=after,
            difference=list(change.difference),
            omitted=change.omitted,
            warnings=list(change.warnings),
            problems=removed,
        )
        # Also what was inserted to lock a tenant that does not exist.
        await session.rollback()
    elif after != before:
        if removed:
            raise confirmation_required(removed)
        await _write(session, request, row, change)


def _compare(request: ChangeRequest, change: Change) -> list[ErrorItem]:
    """Check the limits and find the difference; returns what has to be confirmed. Raises Problem 422."""
    before, after = change.before, change.after
    now = datetime.now(UTC)
    if after is not None:
        check_limits(request.caller.limits, before or StoredDocument(), after)
    difference = list(compare(before, after, now))
    change.difference = _first(difference)
    change.omitted = len(difference) - len(change.difference)
    return [] if request.confirmed else removed_origins(before, after, now)


async def _write(session: Session, request: ChangeRequest, row: Tenant, change: Change) -> None:
    after = change.after
    revision = await store.next_revision(session)
    record = ChangeRecord(
        revision=revision,
        tenant=change.tenant,
        actor=request.caller.actor,
        subject=request.caller.subject,
        action=change.action,
        reason=request.reason,
        difference=[item.model_dump(mode="json") for item in change.difference],
        omitted=change.omitted,
    )
    if after is None:
        await session.delete(row)
    else:
        record.after = row.document = after.model_dump(mode="json")
        row.revision, row.next_expiry = revision, after.next_expiry()
    await index.follow(session, change.tenant, change.before, after)
    await store.record(session, record)
    change.revision, change.is_made = revision, True


def _first(difference: Sequence[Difference]) -> list[Difference]:
    """The first items of a difference, as many as are stored; none if the first is too large."""
    items = difference[:MAX_DIFFERENCE]
    sizes = accumulate(len(item.model_dump_json().encode()) for item in items)
    return [item for item, size in zip(items, sizes, strict=True) if size <= MAX_DIFFERENCE_BYTES]
