"""How much a tenant may have."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import Problem


class Limits(NamedTuple):
    """How much a tenant may have."""

    policies: int
    entries_per_policy: int


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
