"""What a change takes away from those who are admitted: a change that takes much has to be confirmed."""

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


def losses(before: StoredDocument | None, after: StoredDocument | None, now: datetime) -> list[ErrorItem]:
    """Each policy more than half of whose origins would be refused: which ones.

    An entry that has expired admits nobody, and nobody loses it; one that another entry covers is not lost.
    """
    found = []
    policies = {} if after is None else after.policies
    for service, policy in sorted(before.policies.items() if before else ()):
        # Without a policy of its own, a service falls under the default one.
        successor = policies.get(service) or policies.get(DEFAULT) or StoredPolicy()
        kept = PatternSet(_admitted(successor, now))
        origins = _admitted(policy, now)
        lost = [
            text
            for text in origins
            if text not in kept and not any(kept.broader(OriginPattern.parse(text), successor.allow_credentials))
        ]
        if 2 * len(lost) > len(origins):
            named = ", ".join(lost[:MAX_NAMED]) + (f" and {len(lost) - MAX_NAMED} more" if lost[MAX_NAMED:] else "")
            which = "its only origin" if len(origins) == 1 else f"{len(lost)} of its {len(origins)} origins"
            detail = f"Policy {service!r} would refuse {which}: {named}."
            pointer = json_pointer("policies", service, "allow_origins")
            found.append(ErrorItem(code="origins_refused", pointer=pointer, detail=detail))
    return found


def confirmation_required(found: list[ErrorItem]) -> Problem:
    """The answer to a change that was not confirmed."""
    policies = "one policy" if len(found) == 1 else f"{len(found)} policies"
    detail = (
        f"Nothing was changed. This would take away more than half of the origins of {policies}: see errors. "
        "If you mean it, send it again with ?confirm=true."
    )
    return Problem(HTTPStatus.CONFLICT, "confirmation-required", detail, found)


def _admitted(policy: StoredPolicy, now: datetime) -> list[str]:
    return [entry.pattern for entry in policy.allow_origins if not entry.has_expired(now)]
