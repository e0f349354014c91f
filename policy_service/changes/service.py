"""The one way in which anything changes: lock, compare, write the state and its record, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from corspolicy.document import PLATFORM
from corspolicy.names import is_slug
from policy_service.callers import Caller
from policy_service.changes import store
from policy_service.changes.limits import check_limits
from policy_service.database import Sessions
from policy_service.models import Change
from policy_service.problems import Problem
from policy_service.requests import Precondition
from policy_service.tenants import store as tenants
from policy_service.tenants.schemas import StoredDocument


class Changed(NamedTuple):
    """A tenant's document after a change, and the revision that it is at."""

    document: StoredDocument
    revision: int


def unknown_tenant(tenant: str) -> Problem:
    """The answer for a tenant that does not exist."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown-tenant", f"There is no tenant {tenant!r}.")


async def change_tenant(
    sessions: Sessions,
    tenant: str,
    *,
    caller: Caller,
    action: str,
    change: Callable[[StoredDocument], StoredDocument],
    precondition: Callable[[StoredDocument, int], None] | None = None,
) -> Changed:
    """Change an existing tenant's document, in one transaction with the record of it.

    `change` gets a copy of the document, may refuse by raising Problem, and returns the new one; if that is equal to
    the old one, no revision is made. `precondition` sees the document and its revision first.
    """
    caller.require_write(tenant)
    async with sessions.begin() as session:
        row = None if not is_slug(tenant) else await tenants.lock(session, caller.scope, tenant)
        if row is None:
            raise unknown_tenant(tenant)
        if precondition is not None:
            precondition(StoredDocument.model_validate(row.document), row.revision)
        document = change(StoredDocument.model_validate(row.document))
        before, after = row.document, document.model_dump(mode="json")
        if after == before:
            return Changed(document, row.revision)
        check_limits(caller.limits, StoredDocument.model_validate(before), document)
        row.revision = await store.next_revision(session)
        row.document = after
        record = Change(
            revision=row.revision, tenant=tenant, actor=caller.actor, action=action, before=before, after=after
        )
        await store.record(session, record)
        return Changed(document, row.revision)


async def create_tenant(sessions: Sessions, tenant: str, document: StoredDocument, *, caller: Caller) -> Changed | None:
    """Create a tenant with its first document; None if there is one of that slug."""
    caller.require_admin()
    async with sessions.begin() as session:
        row = await tenants.insert_if_absent(session, tenant)
        if row is None:
            return None
        row.revision = await store.next_revision(session)
        row.document = document.model_dump(mode="json")
        record = Change(
            revision=row.revision,
            tenant=tenant,
            actor=caller.actor,
            action="tenant.create",
            before=None,
            after=row.document,
        )
        await store.record(session, record)
        return Changed(document, row.revision)


async def delete_tenant(sessions: Sessions, tenant: str, if_match: Precondition, *, caller: Caller) -> int:
    """Delete a tenant with all its policies; returns the revision that says so."""
    if caller.scope.covers(tenant):
        caller.require_admin()
    async with sessions.begin() as session:
        row = None if not is_slug(tenant) else await tenants.lock(session, caller.scope, tenant)
        if row is None:
            raise unknown_tenant(tenant)
        if tenant == PLATFORM:
            detail = "The platform tenant holds what applies to all tenants and cannot be deleted; empty its policies."
            raise Problem(HTTPStatus.CONFLICT, "reserved-tenant", detail)
        if_match.require(row.revision)
        revision = await store.next_revision(session)
        record = Change(
            revision=revision,
            tenant=tenant,
            actor=caller.actor,
            action="tenant.delete",
            before=row.document,
            after=None,
        )
        await session.delete(row)
        await store.record(session, record)
        return revision
