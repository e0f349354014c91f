"""What would have been allowed if the request or the time had been slightly different.

Every near miss is what `decide` says of an altered request: the rules are in the core alone.
"""

from __future__ import annotations

from corspolicy.core.decision import Decision, Reason
from policy_service.decisions.inputs import DecisionContext, DecisionInput
from policy_service.decisions.near_misses import expiry, origins, other_services, preflights
from policy_service.decisions.schemas import NearMiss

MAX_SHOWN = 5

_NOTHING_NEAR = (Reason.TENANT_UNKNOWN, Reason.METHOD_MALFORMED, Reason.HEADERS_MALFORMED)


def find(request: DecisionInput, decision: Decision, context: DecisionContext) -> list[NearMiss]:
    """The near misses of a denied request: those in the service's own policies first, then the nearest."""
    if not decision.is_denied or decision.reason in _NOTHING_NEAR:
        return []
    found: list[NearMiss] = []
    if decision.policy is None:
        found = [*expiry.find(request, context), *origins.find(request, context)]
    elif context.shows(decision):
        found = list(preflights.find(request, decision))
    found.sort(key=lambda miss: (_is_of_platform(miss, context), len(miss.differences)))
    return [*found, *other_services.find(request, context)][:MAX_SHOWN]


def _is_of_platform(miss: NearMiss, context: DecisionContext) -> bool:
    return miss.policy is not None and context.tenant is not None and miss.policy.tenant != context.tenant.tenant
