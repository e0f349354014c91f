"""For how long browsers may use a preflight response from before a change."""

from __future__ import annotations

import math

from corspolicy.core.document import DEFAULT
from policy_service.documents.model import StoredDocument, StoredPolicy

# What a browser keeps a preflight for at most, whatever max_age says, and without one (Fetch, section 4.9).
CHROMIUM_SECONDS = 7_200
FIREFOX_SECONDS = 86_400
SAFARI_SECONDS = 600
DEFAULT_SECONDS = 5


def longest_cached(before: StoredDocument, after: StoredDocument) -> int | None:
    """The longest max_age, in seconds, of what a change removed something from; None if it removed nothing."""
    removed = [
        DEFAULT_SECONDS if old.max_age is None else old.max_age
        for service in {*before.policies, *after.policies}
        if _removes(old := _of(before, service), _of(after, service))
    ]
    return max(removed, default=None)


def _of(document: StoredDocument, service: str) -> StoredPolicy:
    return document.policies.get(service) or document.policies.get(DEFAULT) or StoredPolicy()


def _removes(old: StoredPolicy, new: StoredPolicy) -> bool:
    """Whether something that `old` lists is not in `new`; said also where another entry happens to cover it."""
    ends = _ends(new)
    return (
        any(ends.get(pattern, -math.inf) < end for pattern, end in _ends(old).items())
        or not {*old.allow_methods} <= {*new.allow_methods}
        or not {*old.allow_headers} <= {*new.allow_headers}
        or (old.allow_credentials and not new.allow_credentials)
    )


def _ends(policy: StoredPolicy) -> dict[str, float]:
    return {
        entry.pattern: math.inf if entry.expires_at is None else entry.expires_at.timestamp()
        for entry in policy.allow_origins
    }
