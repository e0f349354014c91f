"""Documents from what callers send: every error at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from corspolicy.core.names import is_service
from corspolicy.core.policy import OriginEntry, Policy
from corspolicy.core.validation import MAX_REPORTED, Finding, check
from policy_service.documents.domains import is_public_suffix, to_ascii
from policy_service.documents.model import Entry, StoredPolicy
from policy_service.documents.schemas import READ_ONLY
from policy_service.errors import ErrorItem, Problem

WHAT_A_SERVICE_IS = "A service is 1 to 63 lower-case letters, digits, dots, hyphens and underscores, such as billing."
EDITABLE = {"note", "expires_at"}


def build_policy(
    body: Any, old_policy: StoredPolicy | None, actor: str, pointer: str = ""
) -> tuple[StoredPolicy, list[ErrorItem]]:
    """The policy that `body` describes, and its warnings. Raises Problem with everything that is wrong.

    Entries of the old policy that stay keep their id and history.
    """
    if isinstance(body, dict):
        # What was read can be written back.
        body = {name: value for name, value in body.items() if name not in READ_ONLY}
    checked = check(body, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    if checked.policy is None:
        raise invalid_policy([ErrorItem.of(error, pointer) for error in checked.errors])
    known = {} if old_policy is None else {entry.pattern: entry for entry in old_policy.allow_origins}
    values = {value["pattern"]: value for value in reversed(body.get("allow_origins", [])) if isinstance(value, dict)}
    entries = []
    for admitted in checked.policy.allow_origins:
        old, value = known.get(admitted.pattern), values.get(admitted.pattern)
        entry = _entry(admitted, value or {}, actor)
        if old is not None:
            # A bare pattern says nothing of the note, but it says that the entry does not expire.
            said = EDITABLE if value is not None else {"expires_at"}
            entry = old.model_copy(update=entry.model_dump(include=said))
        entries.append(entry)
    settings = checked.policy.to_json()
    warnings = [*checked.warnings, *_expired(entries, "/allow_origins/{}")]
    return StoredPolicy(**{**settings, "allow_origins": entries}), [ErrorItem.of(warning) for warning in warnings]


def build_entry(policy: StoredPolicy, body: Any, actor: str) -> tuple[Entry, list[ErrorItem]]:
    if not isinstance(body, dict):
        detail = 'The body is an object such as {"pattern": "https://app.example.com"}.'
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


def extended(entry: Entry, asked: Entry) -> Entry:
    """The entry, to the later of both ends: admitting never takes away what is admitted."""
    ends = (entry.expires_at, asked.expires_at)
    expires_at = None if None in ends else max(end for end in ends if end is not None)
    return entry.model_copy(update={"expires_at": expires_at})


def _expired(entries: Sequence[Entry], pointer: str) -> list[Finding]:
    now = datetime.now(UTC)
    message = "This time has passed: the entry admits nobody, and is removed soon."
    return [
        Finding("origin_expired", pointer.format(index) + "/expires_at", message)
        for index, entry in enumerate(entries)
        if entry.has_expired(now)
    ][:MAX_REPORTED]


def _entry(admitted: OriginEntry, values: dict[str, Any], actor: str) -> Entry:
    expires_at = None if admitted.expires_at is None else datetime.fromtimestamp(admitted.expires_at, UTC)
    return Entry(pattern=admitted.pattern, note=values.get("note"), expires_at=expires_at, created_by=actor)


def _in_entry(finding: Finding) -> Finding:
    pointer = finding.pointer.removeprefix("/allow_origins/0")
    return Finding(finding.code, pointer, finding.message, finding.suggestion)


def invalid_policy(errors: list[ErrorItem]) -> Problem:
    detail = "Nothing was changed: see errors."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-policy", detail, errors)


def require_service_name(service: str) -> None:
    if not is_service(service):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-service", WHAT_A_SERVICE_IS)


def read_draft(service: str, body: Any, pointer: str) -> Policy:
    """The policy that `body`, at `pointer` in a request, would be if it were put. Raises Problem as `put` does."""
    require_service_name(service)
    return build_policy(body, None, "draft", pointer)[0].to_policy()
