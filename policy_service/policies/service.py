"""Policies and origin entries of a tenant's document."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from operator import itemgetter
from typing import Any

from corspolicy.core.document import DEFAULT
from policy_service.auth.callers import Scope
from policy_service.changes.request import ChangeRequest
from policy_service.changes.results import DryRun, Result
from policy_service.changes.transaction import changing
from policy_service.database import Sessions
from policy_service.documents.build import build_entry, build_policy, edit_entry, extended
from policy_service.documents.model import Entry, StoredDocument, StoredPolicy
from policy_service.documents.names import require_service_name
from policy_service.documents.quotas import count_policy, size_of_policy
from policy_service.errors import ErrorItem, Problem
from policy_service.models import Tenant
from policy_service.policies.schemas import EntryPage, EntryView, PolicyPage, PolicyView
from policy_service.tenants.service import read_row


async def list_policies(sessions: Sessions, scope: Scope, tenant: str) -> PolicyPage:
    """All policies of a tenant. Raises Problem 404."""
    row = await read_row(sessions, scope, tenant)
    document = StoredDocument.model_validate(row.document)
    return PolicyPage(items=[_view(tenant, name, document, row.revision) for name in sorted(document.policies)])


async def read(sessions: Sessions, scope: Scope, tenant: str, service: str) -> PolicyView:
    """One policy of a tenant. Raises Problem 404."""
    row = await read_row(sessions, scope, tenant)
    return PolicyView(**_stored(row, service), tenant=tenant, service=service, revision=row.revision, warnings=[])


async def list_origins(
    sessions: Sessions, scope: Scope, tenant: str, service: str, cursor: str | None, limit: int
) -> EntryPage:
    """Some entries of a policy, in the order of their patterns. Raises Problem 404."""
    row = await read_row(sessions, scope, tenant)
    entries = sorted(_stored(row, service)["allow_origins"], key=itemgetter("pattern"))
    if cursor is not None:
        entries = [entry for entry in entries if entry["pattern"] > cursor]
    return EntryPage(items=entries[:limit], next_cursor=entries[limit - 1]["pattern"] if len(entries) > limit else None)


async def put(
    sessions: Sessions, tenant: str, service: str, body: Any, request: ChangeRequest
) -> Result[PolicyView] | DryRun:
    """Replace a policy, or create it. Entries that stay keep their id and history."""
    require_service_name(service)
    async with changing(sessions, tenant, request, "policy.put") as change:
        policies = change.document.policies
        old = policies.get(service)
        if old is None:
            request.precondition.check(change.revision)
        else:
            request.precondition.require(change.revision)
        count_policy(request.caller.limits, service, body, old)
        policies[service], change.warnings = await request.check(
            size_of_policy(body), build_policy, body, old, request.caller.actor
        )
    view = _view(tenant, service, change.document, change.revision, change.warnings)
    return change.dry_run or Result(view, change.revision, created=old is None)


async def delete(sessions: Sessions, tenant: str, service: str, request: ChangeRequest) -> Result[None] | DryRun:
    """Delete a policy."""
    async with changing(sessions, tenant, request, "policy.delete") as change:
        _require(change.document, tenant, service)
        request.precondition.require(change.revision)
        del change.document.policies[service]
    return change.dry_run or Result(None, change.revision)


async def add_origin(
    sessions: Sessions, tenant: str, service: str, body: Any, request: ChangeRequest
) -> Result[EntryView] | DryRun:
    """Allow an origin. An entry of that pattern that exists stays, and is never made to expire earlier."""
    async with changing(sessions, tenant, request, "origin.add") as change:
        request.precondition.check(change.revision)
        policy = _require(change.document, tenant, service)
        entry, change.warnings = build_entry(policy, body, request.caller.actor)
        patterns = [existing.pattern for existing in policy.allow_origins]
        created = entry.pattern not in patterns
        if created:
            policy.allow_origins.append(entry)
        else:
            index = patterns.index(entry.pattern)
            entry = policy.allow_origins[index] = extended(policy.allow_origins[index], entry)
    view = _entry_view(entry, change.revision, change.warnings)
    return change.dry_run or Result(view, change.revision, created, change.is_made)


async def update_origin(
    sessions: Sessions, tenant: str, service: str, entry_id: str, body: Any, request: ChangeRequest
) -> Result[EntryView] | DryRun:
    """Change the note or the expiry of an entry."""
    async with changing(sessions, tenant, request, "origin.update") as change:
        policy = _require(change.document, tenant, service)
        index = _index(policy, tenant, service, entry_id)
        request.precondition.require(change.revision)
        entry, change.warnings = edit_entry(policy, policy.allow_origins[index], body, request.caller.actor)
        policy.allow_origins[index] = entry
    return change.dry_run or Result(_entry_view(entry, change.revision, change.warnings), change.revision)


async def remove_origin(
    sessions: Sessions, tenant: str, service: str, entry_id: str, request: ChangeRequest
) -> Result[None] | DryRun:
    """Remove an entry."""
    async with changing(sessions, tenant, request, "origin.remove") as change:
        request.precondition.check(change.revision)
        policy = _require(change.document, tenant, service)
        del policy.allow_origins[_index(policy, tenant, service, entry_id)]
    return change.dry_run or Result(None, change.revision)


def _stored(row: Tenant, service: str) -> dict[str, Any]:
    """One policy as it is stored, so that nothing is spent on the tenant's others."""
    policy: dict[str, Any] | None = row.document["policies"].get(service)
    if policy is None:
        raise _unknown_policy(row.slug, service)
    return policy


def _require(document: StoredDocument, tenant: str, service: str) -> StoredPolicy:
    policy = document.policies.get(service)
    if policy is None:
        raise _unknown_policy(tenant, service)
    return policy


def _unknown_policy(tenant: str, service: str) -> Problem:
    hint = "" if service == DEFAULT else f" The policy {DEFAULT} applies to it; PUT one to replace it entirely."
    detail = f"Tenant {tenant!r} has no policy for {service!r}.{hint}"
    return Problem(HTTPStatus.NOT_FOUND, "unknown-policy", detail)


def _index(policy: StoredPolicy, tenant: str, service: str, entry_id: str) -> int:
    index = next((index for index, entry in enumerate(policy.allow_origins) if entry.id == entry_id), None)
    if index is None:
        detail = f"Policy {service!r} of tenant {tenant!r} has no entry {entry_id!r}."
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-entry", detail)
    return index


def _view(
    tenant: str, service: str, document: StoredDocument, revision: int, warnings: Sequence[ErrorItem] = ()
) -> PolicyView:
    policy = document.policies[service]
    return PolicyView(
        allow_origins=policy.allow_origins,
        **policy.settings(),
        tenant=tenant,
        service=service,
        revision=revision,
        warnings=list(warnings),
    )


def _entry_view(entry: Entry, revision: int, warnings: Sequence[ErrorItem]) -> EntryView:
    return EntryView(**dict(entry), revision=revision, warnings=list(warnings))
