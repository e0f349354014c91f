"""Tenants: reading, creating, replacing, renaming, deleting."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from corspolicy.core.document import DEFAULT, PLATFORM
from corspolicy.core.names import is_slug
from policy_service.auth.callers import Caller, Role, Scope
from policy_service.auth.checks import Checks
from policy_service.changes.request import ChangeRequest
from policy_service.changes.results import DryRun, Result
from policy_service.changes.transaction import Change, changing
from policy_service.database import Sessions
from policy_service.documents.build import build_document
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.documents.names import TENANT_RULE, name_errors, unknown_fields
from policy_service.documents.quotas import size_of_document
from policy_service.errors import ErrorItem, Problem, unknown_tenant
from policy_service.models import Tenant
from policy_service.tenants import store
from policy_service.tenants.schemas import ReplacedTenant, TenantPage, TenantView


async def read(
    sessions: Sessions, caller: Caller, checks: Checks, tenant: str, *, with_policies: bool = False
) -> TenantView:
    """One tenant."""
    (view,) = await _views(caller, checks, [await read_row(sessions, caller.scope, tenant)], with_policies)
    return view


async def read_row(sessions: Sessions, scope: Scope, tenant: str) -> Tenant:
    """One tenant with its document. Raises Problem 404."""
    async with sessions() as session:
        row = await store.find(session, scope, tenant) if is_slug(tenant) else None
    if row is None:
        raise unknown_tenant(tenant)
    return row


async def page(
    sessions: Sessions, caller: Caller, checks: Checks, cursor: str | None, limit: int, *, with_policies: bool = False
) -> TenantPage:
    """Some tenants."""
    if cursor is not None and not is_slug(cursor):
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", "Pass next_cursor of a page as it was given.")
    async with sessions() as session:
        rows, next_cursor = await store.page(session, caller.scope, cursor, limit)
    return TenantPage(items=await _views(caller, checks, rows, with_policies), next_cursor=next_cursor)


async def create(sessions: Sessions, body: Any, request: ChangeRequest) -> Result[TenantView] | DryRun:
    """Create a tenant whose default policy allows no origin."""
    tenant, name = _read_new(body)
    request.caller.require_admin()
    async with changing(sessions, tenant, request, "tenant.create", may_create=True) as change:
        if change.before is not None:
            raise Problem(HTTPStatus.CONFLICT, "tenant-exists", f"Tenant {tenant!r} already exists.")
        change.document = StoredDocument(name=name, policies={DEFAULT: StoredPolicy()})
    return change.dry_run or Result(_changed(change), change.revision, created=True)


async def put(sessions: Sessions, tenant: str, body: Any, request: ChangeRequest) -> Result[ReplacedTenant] | DryRun:
    """Replace a tenant's name and all its policies, or create it. Entries that stay keep their id and history."""
    if not is_slug(tenant):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", TENANT_RULE)
    caller, precondition = request.caller, request.precondition
    may_create = precondition.is_missing and caller.role is Role.ADMIN
    async with changing(sessions, tenant, request, "tenant.put", may_create=may_create) as change:
        if change.before is None:
            change.action = "tenant.create"
        else:
            precondition.require(change.revision)
        change.document, change.warnings = await request.check(
            size_of_document(body), build_document, body, change.document, caller.actor, caller.limits
        )
    written = ReplacedTenant(
        tenant=tenant,
        name=change.document.name,
        services=sorted(change.document.policies),
        revision=change.revision,
        warnings=list(change.warnings),
    )
    return change.dry_run or Result(written, change.revision, created=change.before is None)


async def rename(sessions: Sessions, tenant: str, body: Any, request: ChangeRequest) -> Result[TenantView] | DryRun:
    """Change a tenant's display name."""
    name = _read_patch(body)
    async with changing(sessions, tenant, request, "tenant.rename") as change:
        request.precondition.require(change.revision)
        change.document.name = change.document.name if name is None else name
    return change.dry_run or Result(_changed(change), change.revision)


async def delete(sessions: Sessions, tenant: str, request: ChangeRequest) -> Result[None] | DryRun:
    """Delete a tenant with all its policies."""
    if request.caller.scope.covers(tenant):
        request.caller.require_admin()
    async with changing(sessions, tenant, request, "tenant.delete") as change:
        if tenant == PLATFORM:
            detail = "The platform tenant holds what applies to all tenants and cannot be deleted: empty its policies."
            raise Problem(HTTPStatus.CONFLICT, "reserved-tenant", detail)
        request.precondition.require(change.revision)
        change.delete()
    return change.dry_run or Result(None, change.revision)


def _changed(change: Change) -> TenantView:
    return TenantView(
        tenant=change.tenant,
        name=change.document.name,
        services=sorted(change.document.policies),
        revision=change.revision,
        created_at=change.created_at,
    )


async def _views(caller: Caller, checks: Checks, rows: Sequence[Tenant], with_policies: bool) -> list[TenantView]:
    if not with_policies:
        return [_view(row) for row in rows]
    size = sum(row.document_bytes for row in rows)
    return await checks.run_large(size, caller, lambda: [_view(row, row.document["policies"]) for row in rows])


def _view(row: Tenant, policies: dict[str, Any] | None = None) -> TenantView:
    return TenantView(
        tenant=row.slug,
        name=row.document["name"],
        services=sorted(row.document["policies"]),
        revision=row.revision,
        created_at=row.created_at,
        policies=policies,
    )


def _read_new(body: Any) -> tuple[str, str]:
    errors = unknown_fields(body, ("tenant", "name"))
    tenant, name = (body.get("tenant"), body.get("name", "")) if isinstance(body, dict) else ("", "")
    if not isinstance(tenant, str) or not is_slug(tenant):
        errors.append(ErrorItem(code="tenant_invalid", pointer="/tenant", detail=TENANT_RULE))
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


def _raise_if_any(errors: list[ErrorItem]) -> None:
    if errors:
        detail = "The tenant was not written: see errors."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", detail, errors)
