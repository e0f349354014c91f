"""Which allowed origins a change removes: one that removes many has to be confirmed."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from corspolicy.core.document import DEFAULT
from corspolicy.core.patterns import OriginPattern
from corspolicy.core.validation import json_pointer
from corspolicy.core.wildcards import PatternSet
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem

MAX_NAMED = 10


def removed_origins(before: StoredDocument | None, after: StoredDocument | None, now: datetime) -> list[ErrorItem]:
    """Each policy that would no longer allow more than half of its origins, with the origins.

    An expired entry allows nobody and is not counted; one that another entry covers is still allowed.
    """
    found = []
    policies = {} if after is None else after.policies
    for service, policy in sorted(before.policies.items() if before else ()):
        # Without a policy of its own, a service falls under the default one.
        successor = policies.get(service) or policies.get(DEFAULT) or StoredPolicy()
        kept = PatternSet(_allowed(successor, now))
        origins = _allowed(policy, now)
        removed = [text for text in origins if not _is_covered(text, kept, successor.allow_credentials)]
        if 2 * len(removed) > len(origins):
            more = f" and {len(removed) - MAX_NAMED} more" if removed[MAX_NAMED:] else ""
            which = "its only origin" if len(origins) == 1 else f"{len(removed)} of its {len(origins)} origins"
            detail = f"Policy {service!r} would no longer allow {which}: {', '.join(removed[:MAX_NAMED])}{more}."
            pointer = json_pointer("policies", service, "allow_origins")
            found.append(ErrorItem(code="origins_removed", pointer=pointer, detail=detail))
    return found


def confirmation_required(found: list[ErrorItem]) -> Problem:
    """The problem of a change that removes much and was not confirmed."""
    policies = "one policy" if len(found) == 1 else f"{len(found)} policies"
    detail = (
        f"Nothing was changed. This would remove more than half of the allowed origins of {policies}: see errors. "
        "If you mean it, send it again with ?confirm=true."
    )
    return Problem(HTTPStatus.CONFLICT, "confirmation-required", detail, found)


def _allowed(policy: StoredPolicy, now: datetime) -> list[str]:
    return [entry.pattern for entry in policy.allow_origins if not entry.has_expired(now)]


def _is_covered(text: str, patterns: PatternSet, credentials: bool) -> bool:
    return text in patterns or any(patterns.broader(OriginPattern.parse(text), credentials))
