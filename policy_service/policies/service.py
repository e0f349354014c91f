"""Policies and origin entries: checking them, and putting them into a tenant's document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.document import DEFAULT
from corspolicy.names import is_service
from corspolicy.policy import OriginEntry, Policy
from corspolicy.validation import MAX_REPORTED, check
from corspolicy.validation import Problem as PolicyProblem
from policy_service.callers import Scope
from policy_service.changes.request import ChangeRequest
from policy_service.changes.service import change_tenant
from policy_service.database import Sessions
from policy_service.policies.hosts import is_public_suffix, to_ascii
from policy_service.policies.schemas import Entry, EntryPage, PolicyPage, ShownEntry, ShownPolicy, StoredPolicy
from policy_service.problems import ErrorItem, Problem
from policy_service.tenants.schemas import StoredDocument
from policy_service.tenants.service import read_row

WHAT_A_SERVICE_IS = "A service is 1 to 63 lower-case letters, digits, dots, hyphens and underscores, such as billing."
_EDITABLE = {"note", "expires_at"}
_READ_ONLY = ShownPolicy.model_fields.keys() - StoredPolicy.model_fields.keys()


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
    _require_name(service)
    was_there = False

    def precondition(document: StoredDocument, revision: int) -> None:
        nonlocal was_there
        was_there = service in document.policies
        if was_there:
            asked.if_match.require(revision)
        else:
            asked.if_match.check(revision)

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        document.policies[service], warnings = build(body, document.policies.get(service), asked.caller.actor)
        return warnings

    changed = await change_tenant(
        sessions, tenant, asked=asked, action="policy.put", change=change, precondition=precondition
    )
    return Written(_shown(tenant, service, changed.document, changed.revision, changed.warnings), not was_there)


def read_draft(service: str, body: Any, pointer: str) -> Policy:
    """The policy that `body`, at `pointer` in a request, would be if it were put. Raises Problem as `put` does."""
    _require_name(service)
    return build(body, None, "draft", pointer)[0].to_policy()


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
        added, warnings = _build_entry(policy, body, asked.caller.actor)
        found = next((entry for entry in policy.allow_origins if entry.pattern == added.pattern), None)
        if found is None:
            policy.allow_origins.append(added)
        else:
            index = policy.allow_origins.index(found)
            found = policy.allow_origins[index] = _extended(found, added)
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
            raise _invalid([ErrorItem(code="not_patchable", pointer=pointer, detail=detail)])
        built, warnings = _build_entry(policy, {**fields, **body, "pattern": old.pattern}, asked.caller.actor)
        updated = old.model_copy(update=built.model_dump(include=_EDITABLE))
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


def _require_name(service: str) -> None:
    if not is_service(service):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-service", WHAT_A_SERVICE_IS)


def build(
    body: Any, old_policy: StoredPolicy | None, actor: str, pointer: str = ""
) -> tuple[StoredPolicy, list[ErrorItem]]:
    """The policy that `body` describes, and its warnings. Raises Problem with everything that is wrong.

    Entries of the old policy that stay keep their id and history.
    """
    if isinstance(body, dict):
        # What was read can be written back.
        body = {name: value for name, value in body.items() if name not in _READ_ONLY}
    checked = check(body, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    if checked.policy is None:
        raise _invalid([ErrorItem.of(problem, pointer) for problem in checked.problems])
    known = {} if old_policy is None else {entry.pattern: entry for entry in old_policy.allow_origins}
    values = {value["pattern"]: value for value in reversed(body.get("allow_origins", [])) if isinstance(value, dict)}
    entries = []
    for admitted in checked.policy.allow_origins:
        old, value = known.get(admitted.pattern), values.get(admitted.pattern)
        entry = _entry(admitted, value or {}, actor)
        if old is not None:
            # A bare pattern says nothing of the note, but it says that the entry does not expire.
            said = _EDITABLE if value is not None else {"expires_at"}
            entry = old.model_copy(update=entry.model_dump(include=said))
        entries.append(entry)
    settings = checked.policy.to_json()
    warnings = [*checked.warnings, *_expired(entries, "/allow_origins/{}")]
    return StoredPolicy(**{**settings, "allow_origins": entries}), [ErrorItem.of(warning) for warning in warnings]


def _build_entry(policy: StoredPolicy, body: Any, actor: str) -> tuple[Entry, list[ErrorItem]]:
    if not isinstance(body, dict):
        detail = 'The body is an object such as {"pattern": "https://app.example.com"}.'
        raise _invalid([ErrorItem(code="not_an_object", pointer="", detail=detail)])
    # Checked alone, with the policy's settings: what is wrong with an entry does not depend on the others.
    checked = check(
        {**policy.settings(), "allow_origins": [body]}, to_ascii=to_ascii, is_public_suffix=is_public_suffix
    )
    if checked.policy is None:
        raise _invalid([ErrorItem.of(_in_entry(problem)) for problem in checked.problems])
    warnings = [_in_entry(problem) for problem in checked.warnings if problem.pointer.startswith("/allow_origins/0")]
    entry = _entry(checked.policy.allow_origins[0], body, actor)
    return entry, [ErrorItem.of(warning) for warning in (*warnings, *_expired([entry], ""))]


def _extended(entry: Entry, asked: Entry) -> Entry:
    """The entry, to the later of both ends: admitting never takes away what is admitted."""
    ends = (entry.expires_at, asked.expires_at)
    expires_at = None if None in ends else max(end for end in ends if end is not None)
    return entry.model_copy(update={"expires_at": expires_at})


def _expired(entries: Sequence[Entry], pointer: str) -> list[PolicyProblem]:
    now = datetime.now(UTC)
    message = "This time has passed: the entry admits nobody, and is removed soon."
    return [
        PolicyProblem("origin_expired", pointer.format(index) + "/expires_at", message)
        for index, entry in enumerate(entries)
        if entry.has_expired(now)
    ][:MAX_REPORTED]


def _entry(admitted: OriginEntry, values: dict[str, Any], actor: str) -> Entry:
    expires_at = None if admitted.expires_at is None else datetime.fromtimestamp(admitted.expires_at, UTC)
    return Entry(pattern=admitted.pattern, note=values.get("note"), expires_at=expires_at, created_by=actor)


def _in_entry(problem: PolicyProblem) -> PolicyProblem:
    pointer = problem.pointer.removeprefix("/allow_origins/0")
    return PolicyProblem(problem.code, pointer, problem.message, problem.suggestion)


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


def _invalid(errors: list[ErrorItem]) -> Problem:
    detail = "Nothing was changed: see errors."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-policy", detail, errors)


def _shown(
    tenant: str, service: str, document: StoredDocument, revision: int, warnings: Sequence[ErrorItem] = ()
) -> ShownPolicy:
    policy = document.policies[service]
    return ShownPolicy.model_construct(
        **dict(policy),
        tenant=tenant,
        service=service,
        revision=revision,
        warnings=list(warnings),
    )


def _shown_entry(entry: Entry, revision: int, warnings: Sequence[ErrorItem]) -> ShownEntry:
    return ShownEntry(**dict(entry), revision=revision, warnings=list(warnings))
