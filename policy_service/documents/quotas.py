"""How much a tenant may have."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

from corspolicy.core.validation import json_pointer
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem

MAX_NAMED = 5


class Limits(NamedTuple):
    """How much a tenant may have."""

    policies: int
    entries_per_policy: int
    document_bytes: int


def check_limits(limits: Limits | None, before: StoredDocument, after: StoredDocument) -> None:
    """Raises Problem 422 for more than the limits, unless that was there before: what is too much can be made less."""
    if limits is None:
        return
    count = len(after.policies)
    if count > max(limits.policies, len(before.policies)):
        detail = (
            f"The tenant would have {count} policies; at most {limits.policies} (CORSPOLICY_MAX_POLICIES_PER_TENANT)."
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-policies", detail)
    most = limits.entries_per_policy
    for service, policy in after.policies.items():
        count = len(policy.allow_origins)
        if count > max(most, len(before.policies.get(service, StoredPolicy()).allow_origins)):
            detail = (
                f"Policy {service!r} would have {count} origins; at most {most} (CORSPOLICY_MAX_ENTRIES_PER_POLICY)."
            )
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-entries", detail)
    _check_bytes(limits.document_bytes, before, after)


def _check_bytes(most: int, before: StoredDocument, after: StoredDocument) -> None:
    size = after.size()
    if size <= most or size <= before.size():
        return
    largest = sorted(after.policies.items(), key=lambda item: item[1].size(), reverse=True)[:MAX_NAMED]
    detail = (
        f"Nothing was changed. The tenant's policies would be {size} bytes as JSON, notes included; at most {most} "
        "(CORSPOLICY_MAX_DOCUMENT_BYTES). Remove policies, origins or notes that are no longer needed: see errors for "
        "the largest."
    )
    errors = [_large(service, policy) for service, policy in largest]
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "document-too-large", detail, errors)


def _large(service: str, policy: StoredPolicy) -> ErrorItem:
    notes = sum(len((entry.note or "").encode()) for entry in policy.allow_origins)
    detail = (
        f"Policy {service!r} takes {policy.size()} bytes: {len(policy.allow_origins)} origins, {notes} bytes of notes."
    )
    return ErrorItem(code="large_policy", pointer=json_pointer("policies", service), detail=detail)
