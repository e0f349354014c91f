"""Tenants: reading, creating, renaming, deleting."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import accumulate
from typing import Any

from corspolicy.core.document import DEFAULT
from corspolicy.core.names import is_slug
from corspolicy.core.validation import json_pointer
from policy_service.auth.callers import Scope
from policy_service.changes.request import ChangeRequest
from policy_service.changes.service import change_tenant, create_tenant, unknown_tenant
from policy_service.database import Sessions
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem
from policy_service.models import Tenant
from policy_service.tenants import store
from policy_service.tenants.schemas import ShownTenant, TenantPage

WHAT_A_TENANT_IS = "A tenant is 1 to 63 lower-case letters, digits and hyphens, such as acme."
MAX_NAME_LENGTH = 200
# Documents may be large, and a page of them is held in memory.
MAX_PAGE_BYTES = 4 * 1024 * 1024


async def read(sessions: Sessions, scope: Scope, tenant: str, *, with_policies: bool = False) -> ShownTenant:
    """One tenant."""
    return _shown(await read_row(sessions, scope, tenant), with_policies=with_policies)


async def read_row(sessions: Sessions, scope: Scope, tenant: str) -> Tenant:
    """One tenant with its document. Raises Problem 404."""
    async with sessions() as session:
        row = await store.find(session, scope, tenant) if is_slug(tenant) else None
    if row is None:
        raise unknown_tenant(tenant)
    return row


async def page(
    sessions: Sessions, scope: Scope, cursor: str | None, limit: int, *, with_policies: bool = False
) -> TenantPage:
    """Some tenants."""
    if cursor is not None and not is_slug(cursor):
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", "Pass next_cursor of a page as it was given.")
    async with sessions() as session:
        if with_policies:
            limit = _fitting(await store.sizes(session, scope, cursor, limit))
        rows = await store.page(session, scope, cursor, limit + 1)
    return TenantPage(
        items=[_shown(row, with_policies=with_policies) for row in rows[:limit]],
        next_cursor=rows[limit - 1].slug if len(rows) > limit else None,
    )


def _fitting(sizes: Sequence[int]) -> int:
    """How many documents make a page: at least one."""
    totals = accumulate(sizes)
    return max(1, sum(total <= MAX_PAGE_BYTES for total in totals))


async def create(sessions: Sessions, body: Any, asked: ChangeRequest) -> ShownTenant:
    """Create a tenant whose default policy admits nobody."""
    tenant, name = _read_new(body)
    document = StoredDocument(name=name, policies={DEFAULT: StoredPolicy()})
    if await create_tenant(sessions, tenant, document, asked=asked) is None:
        raise Problem(HTTPStatus.CONFLICT, "tenant-exists", f"There is a tenant {tenant!r} already.")
    return await read(sessions, asked.caller.scope, tenant)


async def rename(sessions: Sessions, tenant: str, body: Any, asked: ChangeRequest) -> ShownTenant:
    """Change a tenant's display name."""
    name = _read_patch(body)

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        document.name = document.name if name is None else name
        return ()

    await change_tenant(
        sessions,
        tenant,
        asked=asked,
        action="tenant.rename",
        change=change,
        precondition=lambda _, revision: asked.if_match.require(revision),
    )
    return await read(sessions, asked.caller.scope, tenant)


def _shown(row: Tenant, *, with_policies: bool = False) -> ShownTenant:
    return ShownTenant(
        tenant=row.slug,
        name=row.document["name"],
        services=sorted(row.document["policies"]),
        revision=row.revision,
        created_at=row.created_at,
        policies=row.document["policies"] if with_policies else None,
    )


def _read_new(body: Any) -> tuple[str, str]:
    errors = unknown_fields(body, ("tenant", "name"))
    tenant, name = (body.get("tenant"), body.get("name", "")) if isinstance(body, dict) else ("", "")
    if not isinstance(tenant, str) or not is_slug(tenant):
        errors.append(ErrorItem(code="tenant_invalid", pointer="/tenant", detail=WHAT_A_TENANT_IS))
    errors += name_errors(name)
    _raise_if_any(errors)
    return str(tenant), str(name)


def _read_patch(body: Any) -> str | None:
    errors = unknown_fields(body, ("name",))
    name = body.get("name") if isinstance(body, dict) else None
    if isinstance(body, dict) and "name" in body:
        errors += name_errors(name)
    _raise_if_any(errors)
    return name


def unknown_fields(body: Any, known: tuple[str, ...]) -> list[ErrorItem]:
    """What is wrong with a body as a whole."""
    if not isinstance(body, dict):
        return [ErrorItem(code="not_an_object", pointer="", detail="The body is a JSON object.")]
    detail = f"There is no such field. The fields are {', '.join(known)}."
    return [
        ErrorItem(code="unknown_field", pointer=json_pointer(name), detail=detail) for name in body if name not in known
    ]


def name_errors(name: Any) -> list[ErrorItem]:
    """What is wrong with a display name."""
    # Printable is also what PostgreSQL and UTF-8 can hold.
    if isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and name.isprintable():
        return []
    detail = f"A name is a text of at most {MAX_NAME_LENGTH} printable characters."
    return [ErrorItem(code="name_invalid", pointer="/name", detail=detail)]


def _raise_if_any(errors: list[ErrorItem]) -> None:
    if errors:
        detail = "The tenant was not written: see errors."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", detail, errors)
