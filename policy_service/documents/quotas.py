"""How much a tenant may have. What a caller sends is counted before it is checked: a check takes its time per value."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.core.policy import SETTINGS, Names
from corspolicy.core.validation import json_pointer
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem

MAX_NAMED = 5


class Limits(NamedTuple):
    """How much a tenant may have."""

    policies: int
    entries_per_policy: int
    document_bytes: int
    names_per_list: int


_NAMES = tuple(name for name, setting in SETTINGS.items() if isinstance(setting.kind, Names))


def count_document(limits: Limits | None, body: Any, before: StoredDocument) -> None:
    """Raises Problem 422 for a whole tenant, as it was sent, with more than the limits and more than before."""
    policies = body.get("policies") if isinstance(body, Mapping) else None
    if limits is None or not isinstance(policies, Mapping):
        return
    _require_policies(limits, len(policies), len(before.policies))
    for service, policy in policies.items():
        count_policy(limits, service, policy, before.policies.get(service))


def count_policy(limits: Limits | None, service: str, body: Any, before: StoredPolicy | None) -> None:
    """Raises Problem 422 for a policy, as it was sent, with more than the limits and more than before."""
    if limits is None or not isinstance(body, Mapping):
        return
    before = before or StoredPolicy()
    _require_entries(limits, service, _count(body, "allow_origins"), len(before.allow_origins))
    for name in _NAMES:
        count, most = _count(body, name), limits.names_per_list
        if count > max(most, len(getattr(before, name))):
            detail = (
                f"Policy {service!r} would have {count} names in {name}; at most {most} "
                "(CORSPOLICY_MAX_NAMES_PER_LIST)."
            )
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-names", detail)


def size_of_document(body: Any) -> int:
    """How many values a whole tenant, as it was sent, has to be checked for."""
    policies = body.get("policies") if isinstance(body, Mapping) else None
    return sum(1 + size_of_policy(policy) for policy in policies.values()) if isinstance(policies, Mapping) else 0


def size_of_policy(body: Any) -> int:
    """How many values a policy, as it was sent, has to be checked for."""
    return sum(_count(body, name) for name in ("allow_origins", *_NAMES)) if isinstance(body, Mapping) else 0


def _count(body: Mapping[str, Any], name: str) -> int:
    values = body.get(name)
    return len(values) if isinstance(values, list) else 0


def check_limits(limits: Limits | None, before: StoredDocument, after: StoredDocument) -> None:
    """Raises Problem 422 for more than the limits, unless that was there before: what is too much can be made less."""
    if limits is None:
        return
    _require_policies(limits, len(after.policies), len(before.policies))
    for service, policy in after.policies.items():
        count = len(before.policies.get(service, StoredPolicy()).allow_origins)
        _require_entries(limits, service, len(policy.allow_origins), count)
    _check_bytes(limits.document_bytes, before, after)


def _require_policies(limits: Limits, count: int, before: int) -> None:
    most = limits.policies
    if count > max(most, before):
        detail = f"The tenant would have {count} policies; at most {most} (CORSPOLICY_MAX_POLICIES_PER_TENANT)."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-policies", detail)


def _require_entries(limits: Limits, service: str, count: int, before: int) -> None:
    most = limits.entries_per_policy
    if count > max(most, before):
        detail = f"Policy {service!r} would have {count} origins; at most {most} (CORSPOLICY_MAX_ENTRIES_PER_POLICY)."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-entries", detail)


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
