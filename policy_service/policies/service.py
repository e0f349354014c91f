"""Policies and origin entries: checking them, and putting them into a tenant's document."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.core.document import DEFAULT
from policy_service.auth.callers import Scope
from policy_service.changes.request import ChangeRequest
from policy_service.changes.service import change_tenant
from policy_service.database import Sessions
from policy_service.documents.build import (
    EDITABLE,
    build_entry,
    build_policy,
    extended,
    invalid_policy,
    require_service_name,
)
from policy_service.documents.model import Entry, StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem
from policy_service.policies.schemas import EntryPage, PolicyPage, ShownEntry, ShownPolicy
from policy_service.tenants.service import read_row


class Written(NamedTuple):
    """A policy after a write, and whether the write made it."""

    policy: ShownPolicy
    is_new: bool


async def list_policies(sessions: Sessions, scope: Scope, tenant: str) -> PolicyPage:
    """All policies of a tenant."""
    row = await read_row(sessions, scope, tenant)
    document = StoredDocument.model_validate(row.document)
    return PolicyPage(items=[_shown(tenant, name, document, row.revision) for name in sorted(document.policies)])


async def read(sessions: Sessions, scope: Scope, tenant: str, service: str) -> ShownPolicy:
    """One policy of a tenant."""
    row = await read_row(sessions, scope, tenant)
    document = StoredDocument.model_validate(row.document)
    _require(document, tenant, service)
    return _shown(tenant, service, document, row.revision)


async def put(sessions: Sessions, tenant: str, service: str, body: Any, asked: ChangeRequest) -> Written:
    """Write a policy whole. Entries that stay keep their id and history."""
    require_service_name(service)
    was_there = False

    def precondition(document: StoredDocument, revision: int) -> None:
        nonlocal was_there
        was_there = service in document.policies
        if was_there:
            asked.if_match.require(revision)
        else:
            asked.if_match.check(revision)

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        document.policies[service], warnings = build_policy(body, document.policies.get(service), asked.caller.actor)
        return warnings

    changed = await change_tenant(
        sessions, tenant, asked=asked, action="policy.put", change=change, precondition=precondition
    )
    return Written(_shown(tenant, service, changed.document, changed.revision, changed.warnings), not was_there)


async def delete(sessions: Sessions, tenant: str, service: str, asked: ChangeRequest) -> int:
    """Delete a policy; returns the revision that says so."""

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        del document.policies[service]
        return ()

    def precondition(document: StoredDocument, revision: int) -> None:
        _require(document, tenant, service)
        asked.if_match.require(revision)

    changed = await change_tenant(
        sessions, tenant, asked=asked, action="policy.delete", change=change, precondition=precondition
    )
    return changed.revision


async def list_origins(
    sessions: Sessions, scope: Scope, tenant: str, service: str, cursor: str | None, limit: int
) -> EntryPage:
    """Some entries of a policy, in the order of their patterns."""
    row = await read_row(sessions, scope, tenant)
    policy = _require(StoredDocument.model_validate(row.document), tenant, service)
    entries = sorted(policy.allow_origins, key=lambda entry: entry.pattern)
    if cursor is not None:
        entries = [entry for entry in entries if entry.pattern > cursor]
    return EntryPage(items=entries[:limit], next_cursor=entries[limit - 1].pattern if len(entries) > limit else None)


class Added(NamedTuple):
    """An entry, and whether the request made it."""

    entry: ShownEntry
    is_new: bool


async def add_origin(sessions: Sessions, tenant: str, service: str, body: Any, asked: ChangeRequest) -> Added:
    """Admit an origin. Where there is an entry of that pattern, it stays, and admits no shorter than asked for."""
    found: Entry | None = None
    added: Entry | None = None

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        nonlocal found, added
        policy = _require(document, tenant, service)
        added, warnings = build_entry(policy, body, asked.caller.actor)
        found = next((entry for entry in policy.allow_origins if entry.pattern == added.pattern), None)
        if found is None:
            policy.allow_origins.append(added)
        else:
            index = policy.allow_origins.index(found)
            found = policy.allow_origins[index] = extended(found, added)
        return warnings

    changed = await change_tenant(
        sessions,
        tenant,
        asked=asked,
        action="origin.add",
        change=change,
        precondition=lambda _, revision: asked.if_match.check(revision),
    )
    entry = found or added
    assert entry is not None
    return Added(_shown_entry(entry, changed.revision, changed.warnings), found is None)


async def update_origin(
    sessions: Sessions, tenant: str, service: str, entry_id: str, body: Any, asked: ChangeRequest
) -> ShownEntry:
    """Change the note or the expiry of an entry."""
    updated: Entry | None = None

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        nonlocal updated
        policy = _require(document, tenant, service)
        index = _index(policy, tenant, service, entry_id)
        old = policy.allow_origins[index]
        fields = {"note": old.note, "expires_at": old.expires_at and old.expires_at.isoformat()}
        if not isinstance(body, dict) or "pattern" in body:
            detail = "The body is an object with note and expires_at; to change the pattern, add another entry."
            pointer = "/pattern" if isinstance(body, dict) else ""
            raise invalid_policy([ErrorItem(code="not_patchable", pointer=pointer, detail=detail)])
        built, warnings = build_entry(policy, {**fields, **body, "pattern": old.pattern}, asked.caller.actor)
        updated = old.model_copy(update=built.model_dump(include=EDITABLE))
        policy.allow_origins[index] = updated
        return warnings

    def precondition(document: StoredDocument, revision: int) -> None:
        _index(_require(document, tenant, service), tenant, service, entry_id)
        asked.if_match.require(revision)

    changed = await change_tenant(
        sessions,
        tenant,
        asked=asked,
        action="origin.update",
        change=change,
        precondition=precondition,
    )
    assert updated is not None
    return _shown_entry(updated, changed.revision, changed.warnings)


async def remove_origin(sessions: Sessions, tenant: str, service: str, entry_id: str, asked: ChangeRequest) -> int:
    """Take an entry back; returns the revision that says so."""

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        policy = _require(document, tenant, service)
        del policy.allow_origins[_index(policy, tenant, service, entry_id)]
        return ()

    changed = await change_tenant(
        sessions,
        tenant,
        asked=asked,
        action="origin.remove",
        change=change,
        precondition=lambda _, revision: asked.if_match.check(revision),
    )
    return changed.revision


def _require(document: StoredDocument, tenant: str, service: str) -> StoredPolicy:
    policy = document.policies.get(service)
    if policy is None:
        hint = "" if service == DEFAULT else f" Without one, {DEFAULT} applies; PUT one to have it stand instead."
        detail = f"Tenant {tenant!r} has no policy for {service!r}.{hint}"
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-policy", detail)
    return policy


def _index(policy: StoredPolicy, tenant: str, service: str, entry_id: str) -> int:
    index = next((index for index, entry in enumerate(policy.allow_origins) if entry.id == entry_id), None)
    if index is None:
        detail = f"Policy {service!r} of tenant {tenant!r} has no entry {entry_id!r}."
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-entry", detail)
    return index


def _shown(
    tenant: str, service: str, document: StoredDocument, revision: int, warnings: Sequence[ErrorItem] = ()
) -> ShownPolicy:
    policy = document.policies[service]
    return ShownPolicy(
        allow_origins=policy.allow_origins,
        **policy.settings(),
        tenant=tenant,
        service=service,
        revision=revision,
        warnings=list(warnings),
    )


def _shown_entry(entry: Entry, revision: int, warnings: Sequence[ErrorItem]) -> ShownEntry:
    return ShownEntry(**dict(entry), revision=revision, warnings=list(warnings))
