"""The history of tenants: reading it, and restoring earlier documents."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from corspolicy.core.names import is_slug
from corspolicy.core.validation import json_pointer
from policy_service.auth.callers import Scope
from policy_service.changes import store as changes
from policy_service.changes.request import ChangeRequest
from policy_service.changes.results import DryRun, Result
from policy_service.changes.transaction import changing
from policy_service.database import Sessions
from policy_service.documents.difference import Difference, compare
from policy_service.documents.model import StoredDocument
from policy_service.errors import ErrorItem, Problem, unknown_tenant
from policy_service.history import store
from policy_service.history.schemas import ChangePage, ChangeView, Restore, Restored, RevisionView
from policy_service.history.store import Filters
from policy_service.models import MAX_REVISION, Change


async def page(sessions: Sessions, scope: Scope, filters: Filters, cursor: str | None, limit: int) -> ChangePage:
    """Some changes, the newest first."""
    below = None if cursor is None else read_number(cursor, "Invalid cursor: pass the next_cursor of a page unchanged.")
    async with sessions() as session:
        rows, read_on = await store.page(session, scope, filters, below, limit)
    return ChangePage(items=[view(row) for row in rows], next_cursor=None if read_on is None else str(read_on))


async def page_of(sessions: Sessions, scope: Scope, tenant: str, cursor: str | None, limit: int) -> ChangePage:
    """Some changes of a tenant, also of one that is deleted. Raises Problem 404 for one that never was."""
    if not is_slug(tenant):
        raise unknown_tenant(tenant)
    found = await page(sessions, scope, Filters(tenant=tenant), cursor, limit)
    if not found.items:
        async with sessions() as session:
            if await changes.last_revision(session, scope, tenant) is None:
                raise unknown_tenant(tenant)
    return found


async def read(sessions: Sessions, scope: Scope, tenant: str, revision: int) -> RevisionView:
    """One change, with the documents before and after it, as far as they are stored. Raises Problem 404."""
    row = await _find(sessions, scope, tenant, revision)
    async with sessions() as session:
        previous = await store.find_last(session, scope, tenant, revision - 1)
    before, after = _document(None if previous is None else previous.after), _document(row.after)
    is_compacted = any(change is not None and change.compacted_at is not None for change in (previous, row))
    values = dict(view(row))
    if not is_compacted:
        values |= {"difference": list(compare(before, after, row.created_at)), "omitted": 0}
    return RevisionView(**values, before=before, after=after, compacted=is_compacted)


async def restore(
    sessions: Sessions, tenant: str, wanted: Restore, request: ChangeRequest
) -> Result[Restored] | DryRun:
    """Make the document of an earlier revision the current one, as a new revision; of a deleted tenant, too.

    Entries that have expired since are left out, with a warning: they would allow nothing and soon be removed.
    """
    row = await _find(sessions, request.caller.scope, tenant, wanted.revision)
    document = _document(row.after)
    if row.compacted_at is not None:
        raise await compacted(sessions, request.caller.scope, tenant, wanted.revision)
    if document is None:
        detail = "That revision is a deletion: name an earlier one, or delete the tenant."
        errors = [ErrorItem(code="revision_deletion", pointer="/revision", detail=detail)]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "Nothing was restored: see errors.", errors)
    async with changing(sessions, tenant, request, "tenant.restore", may_create=True) as change:
        if change.before is None:
            request.precondition.check(change.revision)
        else:
            request.precondition.require(change.revision)
        change.document, change.warnings = document, _drop_expired(document)
    restored = Restored(
        tenant=tenant,
        revision=change.revision,
        document=document,
        difference=list(change.difference),
        omitted=change.omitted,
        warnings=list(change.warnings),
    )
    return change.dry_run or Result(restored, change.revision, changed=change.is_made)


def view(row: Change) -> ChangeView:
    """A change as the API shows it."""
    return ChangeView(
        tenant=row.tenant,
        revision=row.revision,
        changed_at=row.created_at,
        actor=row.actor,
        subject=row.subject,
        action=row.action,
        reason=row.reason,
        difference=[Difference.model_validate(item) for item in row.difference],
        omitted=row.omitted,
        restorable=row.document_bytes is not None,
    )


async def compacted(sessions: Sessions, scope: Scope, tenant: str, revision: int) -> Problem:
    """The problem of a revision whose document is no longer stored."""
    async with sessions() as session:
        oldest = await store.oldest_with_document(session, scope, tenant)
    there = (
        "No document of this tenant is stored." if oldest is None else f"The oldest one stored is of revision {oldest}."
    )
    detail = (
        f"The document of revision {revision} of tenant {tenant!r} is no longer stored: old ones are removed by age "
        f"(CORSPOLICY_HISTORY_DAYS) and by size (CORSPOLICY_HISTORY_BYTES_PER_TENANT). {there}"
    )
    return Problem(HTTPStatus.GONE, "revision-compacted", detail)


def read_number(text: str, detail: str) -> int:
    """A revision or position as it was given out. Raises Problem 400."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_REVISION):
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", detail)
    return int(text)


async def _find(sessions: Sessions, scope: Scope, tenant: str, revision: int) -> Change:
    if not is_slug(tenant):
        raise unknown_tenant(tenant)
    async with sessions() as session:
        row = await store.find(session, scope, tenant, revision)
        if row is None and await changes.last_revision(session, scope, tenant) is None:
            raise unknown_tenant(tenant)
    if row is None:
        detail = f"Tenant {tenant!r} has no revision {revision}."
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-revision", detail)
    return row


def _document(values: dict[str, Any] | None) -> StoredDocument | None:
    return None if values is None else StoredDocument.model_validate(values)


def _drop_expired(document: StoredDocument) -> list[ErrorItem]:
    return [
        ErrorItem(
            code="origin_expired",
            pointer=json_pointer("policies", service, "allow_origins"),
            detail=f"{entry.pattern} has expired since and was left out.",
        )
        for service, entry in document.drop_expired(datetime.now(UTC))
    ]
