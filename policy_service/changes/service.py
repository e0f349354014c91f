"""The one way in which anything changes: lock, compare, ask back, write the state and its record, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.core.document import PLATFORM
from corspolicy.core.names import is_slug
from policy_service.changes import store
from policy_service.changes.dry_run import MAX_DIFFERENCE, DryRun, DryRunDone
from policy_service.changes.request import ChangeRequest
from policy_service.database import Session, Sessions
from policy_service.documents.difference import Difference, compare
from policy_service.documents.model import StoredDocument
from policy_service.documents.published import TooLarge, to_envelope
from policy_service.documents.quotas import check_limits
from policy_service.documents.removed_origins import confirmation_required, losses
from policy_service.errors import ErrorItem, Problem
from policy_service.models import Change, Tenant


class Changed(NamedTuple):
    """A tenant's document after a change (an empty one after its deletion), the revision that it is at, and how it
    came to be."""

    document: StoredDocument
    revision: int
    warnings: Sequence[ErrorItem]
    difference: Sequence[Difference]
    omitted: int


def unknown_tenant(tenant: str) -> Problem:
    """The answer for a tenant that does not exist."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown-tenant", f"There is no tenant {tenant!r}.")


async def change_tenant(
    sessions: Sessions,
    tenant: str,
    *,
    asked: ChangeRequest,
    action: str,
    change: Callable[[StoredDocument], Sequence[ErrorItem]],
    precondition: Callable[[StoredDocument, int], None] | None = None,
) -> Changed:
    """Change an existing tenant's document, in one transaction with the record of it.

    `change` gets a copy of the document, changes it or refuses by raising Problem, and returns its warnings; if the
    document is equal to the old one then, no revision is made. `precondition` sees the document and its revision first.
    """
    asked.caller.require_write(tenant)
    async with sessions.begin() as session:
        row = None if not is_slug(tenant) else await store.lock(session, asked.caller.scope, tenant)
        if row is None:
            raise unknown_tenant(tenant)
        before, after = (StoredDocument.model_validate(row.document) for _ in range(2))
        if precondition is not None:
            precondition(before, row.revision)
        warnings = change(after)
        return await _settle(session, asked, action, row, before, after, warnings)


async def create_tenant(
    sessions: Sessions,
    tenant: str,
    document: StoredDocument,
    warnings: Sequence[ErrorItem] = (),
    *,
    asked: ChangeRequest,
) -> Changed | None:
    """Create a tenant with its first document; None if there is one of that slug."""
    asked.caller.require_admin()
    async with sessions.begin() as session:
        row = await store.insert_if_absent(session, tenant)
        if row is None:
            return None
        return await _settle(session, asked, "tenant.create", row, None, document, warnings)


async def restore_tenant(
    sessions: Sessions, tenant: str, document: StoredDocument, warnings: Sequence[ErrorItem], *, asked: ChangeRequest
) -> Changed:
    """Give a tenant an earlier document of its own again; one that was deleted, too."""
    scope, action = asked.caller.scope, "tenant.restore"
    asked.caller.require_write(tenant)
    async with sessions.begin() as session:
        row = await store.lock(session, scope, tenant)
        if row is not None:
            asked.if_match.require(row.revision)
            before = StoredDocument.model_validate(row.document)
            return await _settle(session, asked, action, row, before, document, warnings)
        asked.caller.require_admin()
        # Its ETag is that of its deletion.
        asked.if_match.check(await store.last_revision(session, scope, tenant) or 0)
        row = await store.insert_if_absent(session, tenant)
        if row is None:
            detail = f"A tenant {tenant!r} was created at this moment: read it and try again."
            raise Problem(HTTPStatus.CONFLICT, "tenant-exists", detail)
        return await _settle(session, asked, action, row, None, document, warnings)


async def delete_tenant(sessions: Sessions, tenant: str, *, asked: ChangeRequest) -> int:
    """Delete a tenant with all its policies; returns the revision that says so."""
    scope = asked.caller.scope
    if scope.covers(tenant):
        asked.caller.require_admin()
    async with sessions.begin() as session:
        row = None if not is_slug(tenant) else await store.lock(session, scope, tenant)
        if row is None:
            raise unknown_tenant(tenant)
        if tenant == PLATFORM:
            detail = "The platform tenant holds what applies to all tenants and cannot be deleted; empty its policies."
            raise Problem(HTTPStatus.CONFLICT, "reserved-tenant", detail)
        asked.if_match.require(row.revision)
        before = StoredDocument.model_validate(row.document)
        return (await _settle(session, asked, "tenant.delete", row, before, None)).revision


async def _settle(
    session: Session,
    asked: ChangeRequest,
    action: str,
    row: Tenant,
    before: StoredDocument | None,
    after: StoredDocument | None,
    warnings: Sequence[ErrorItem] = (),
) -> Changed:
    """Write the new state of a locked tenant and the record of it; where nothing differs, nothing is written.

    Raises Problem 409 for a loss that was not confirmed, and DryRunDone where all the rest was only tried.
    """
    stored: dict[str, Any] = {}
    if after is not None:
        stored = after.model_dump(mode="json")
        check_limits(asked.caller.limits, before or StoredDocument(), after)
        _require_publishable(row.slug, row.revision, after)
    difference = list(compare(before, after))
    shown, omitted = difference[:MAX_DIFFERENCE], len(difference[MAX_DIFFERENCE:])
    lost = [] if asked.is_confirmed else losses(before, after, datetime.now(UTC))
    if asked.is_dry_run:
        outcome = DryRun(
            tenant=row.slug,
            revision=None if before is None else row.revision,
            document=after,
            difference=shown,
            omitted=omitted,
            warnings=list(warnings),
            problems=lost,
        )
        raise DryRunDone(outcome)
    changed = Changed(after or StoredDocument(), row.revision, warnings, shown, omitted)
    if after == before:
        return changed
    if lost:
        raise confirmation_required(lost)
    revision = await store.next_revision(session)
    record = Change(
        revision=revision,
        tenant=row.slug,
        actor=asked.caller.actor,
        subject=asked.caller.subject,
        action=action,
        reason=asked.reason,
        difference=[item.model_dump(mode="json") for item in shown],
        omitted=omitted,
        before=row.document or None,
    )
    if after is None:
        await session.delete(row)
    else:
        record.after = row.document = stored
        row.revision, row.next_expiry = revision, after.next_expiry()
    await store.record(session, record)
    return changed._replace(revision=revision)


def _require_publishable(tenant: str, revision: int, document: StoredDocument) -> None:
    try:
        to_envelope(tenant, revision, document)
    except TooLarge as error:
        detail = f"{error} Nothing was changed; remove first what is no longer needed."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "document-too-large", detail) from error
