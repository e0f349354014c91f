"""Documents, policies and entries from what callers send: every error at once, or a valid value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from corspolicy.core.names import is_service
from corspolicy.core.policy import OriginEntry, Policy
from corspolicy.core.validation import MAX_REPORTED, Finding, check, json_pointer
from policy_service.documents.domains import is_public_suffix, to_ascii
from policy_service.documents.model import Entry, StoredDocument, StoredPolicy
from policy_service.documents.names import SERVICE_RULE, name_errors, require_service_name, unknown_fields
from policy_service.documents.quotas import Limits, count_document, count_policy
from policy_service.documents.schemas import READ_ONLY
from policy_service.errors import ErrorItem, Problem

# What reading adds, and writing ignores: what was read can be written back.
_READ_ONLY_OF_TENANT = frozenset(("tenant", "services", "revision", "created_at"))
_EDITABLE = {"note", "expires_at"}


def build_document(
    body: Any, old: StoredDocument, actor: str, limits: Limits | None = None
) -> tuple[StoredDocument, list[ErrorItem]]:
    """The document that `body` describes, and its warnings. Raises Problem 422 with every error.

    Entries that stay keep their id and history.
    """
    count_document(limits, body, old)
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in _READ_ONLY_OF_TENANT}
    errors, warnings = unknown_fields(body, ("name", "policies")), list[ErrorItem]()
    values = body if isinstance(body, dict) else {}
    name, policies = values.get("name", ""), values.get("policies")
    errors += name_errors(name)
    if not isinstance(policies, dict):
        detail = "policies must be an object: each of the tenant's policies, by service or `default`."
        errors.append(ErrorItem(code="not_an_object", pointer="/policies", detail=detail))
        policies = {}
    built: dict[str, StoredPolicy] = {}
    for service, policy in policies.items():
        pointer = "/policies" + json_pointer(service)
        if not is_service(service):
            errors.append(ErrorItem(code="service_invalid", pointer=pointer, detail=SERVICE_RULE))
        try:
            built[service], found = build_policy(policy, old.policies.get(service), actor)
            warnings += _beneath(pointer, found)
        except Problem as problem:
            errors += _beneath(pointer, problem.errors)
    if errors:
        detail = "Nothing was changed: see errors."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", detail, errors[:MAX_REPORTED])
    return StoredDocument(name=name, policies=built), warnings[:MAX_REPORTED]


def build_policy(
    body: Any, old: StoredPolicy | None, actor: str, pointer: str = ""
) -> tuple[StoredPolicy, list[ErrorItem]]:
    """The policy that `body`, at `pointer` in a request, describes, and its warnings. Raises Problem 422.

    Entries of the old policy that stay keep their id and history.
    """
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in READ_ONLY}
    checked = check(body, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    if checked.policy is None:
        raise invalid_policy([ErrorItem.of(error, pointer) for error in checked.errors])
    known = {} if old is None else {entry.pattern: entry for entry in old.allow_origins}
    values = {value["pattern"]: value for value in reversed(body.get("allow_origins", [])) if isinstance(value, dict)}
    entries = []
    for allowed in checked.policy.allow_origins:
        kept, value = known.get(allowed.pattern), values.get(allowed.pattern)
        entry = _entry(allowed, value or {}, actor)
        if kept is not None:
            # A bare pattern says nothing of the note, but it says that the entry does not expire.
            entry = _edited(kept, entry, _EDITABLE if value is not None else {"expires_at"})
        entries.append(entry)
    settings = checked.policy.to_json()
    warnings = [*checked.warnings, *_expired(entries, "/allow_origins/{}")]
    return StoredPolicy(**{**settings, "allow_origins": entries}), [ErrorItem.of(warning) for warning in warnings]


def build_entry(policy: StoredPolicy, body: Any, actor: str) -> tuple[Entry, list[ErrorItem]]:
    """The entry of `policy` that `body` describes, and its warnings. Raises Problem 422."""
    if not isinstance(body, dict):
        detail = 'The body must be an object such as {"pattern": "https://app.example.com"}.'
        raise invalid_policy([ErrorItem(code="not_an_object", pointer="", detail=detail)])
    # Checked alone, with the policy's settings: what is wrong with an entry does not depend on the others.
    checked = check(
        {**policy.settings(), "allow_origins": [body]}, to_ascii=to_ascii, is_public_suffix=is_public_suffix
    )
    if checked.policy is None:
        raise invalid_policy([ErrorItem.of(_in_entry(error)) for error in checked.errors])
    warnings = [_in_entry(warning) for warning in checked.warnings if warning.pointer.startswith("/allow_origins/0")]
    entry = _entry(checked.policy.allow_origins[0], body, actor)
    return entry, [ErrorItem.of(warning) for warning in (*warnings, *_expired([entry], ""))]


def edit_entry(policy: StoredPolicy, old: Entry, body: Any, actor: str) -> tuple[Entry, list[ErrorItem]]:
    """The entry with the note and the expiry that `body` gives it, and its warnings. Raises Problem 422."""
    if not isinstance(body, dict) or "pattern" in body:
        detail = "The body must be an object with note and expires_at; to change the pattern, add another entry."
        pointer = "/pattern" if isinstance(body, dict) else ""
        raise invalid_policy([ErrorItem(code="not_patchable", pointer=pointer, detail=detail)])
    fields = {"note": old.note, "expires_at": old.expires_at and old.expires_at.isoformat()}
    built, warnings = build_entry(policy, {**fields, **body, "pattern": old.pattern}, actor)
    return _edited(old, built, _EDITABLE), warnings


def extended(entry: Entry, added: Entry) -> Entry:
    """The entry with the later expiry of both: adding an origin never shortens what is allowed."""
    ends = (entry.expires_at, added.expires_at)
    expires_at = None if None in ends else max(end for end in ends if end is not None)
    return entry.model_copy(update={"expires_at": expires_at})


def read_draft(service: str, body: Any, pointer: str, limits: Limits | None = None) -> Policy:
    """The policy that `body`, at `pointer` in a request, would be if it were written. Raises Problem 422."""
    require_service_name(service)
    count_policy(limits, service, body, None)
    return build_policy(body, None, "draft", pointer)[0].to_policy()


def invalid_policy(errors: list[ErrorItem]) -> Problem:
    """The problem of values that are not a valid policy."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-policy", "Nothing was changed: see errors.", errors)


def _edited(entry: Entry, values: Entry, fields: set[str]) -> Entry:
    return entry.model_copy(update=values.model_dump(include=fields))


def _entry(allowed: OriginEntry, values: dict[str, Any], actor: str) -> Entry:
    expires_at = None if allowed.expires_at is None else datetime.fromtimestamp(allowed.expires_at, UTC)
    return Entry(pattern=allowed.pattern, note=values.get("note"), expires_at=expires_at, created_by=actor)


def _expired(entries: Sequence[Entry], pointer: str) -> list[Finding]:
    now = datetime.now(UTC)
    message = "This time is in the past: the entry allows nothing and will be removed soon."
    return [
        Finding("origin_expired", pointer.format(index) + "/expires_at", message)
        for index, entry in enumerate(entries)
        if entry.has_expired(now)
    ][:MAX_REPORTED]


def _in_entry(finding: Finding) -> Finding:
    pointer = finding.pointer.removeprefix("/allow_origins/0")
    return Finding(finding.code, pointer, finding.message, finding.suggestion)


def _beneath(pointer: str, items: Sequence[ErrorItem]) -> list[ErrorItem]:
    return [item.model_copy(update={"pointer": pointer + item.pointer}) for item in items]
