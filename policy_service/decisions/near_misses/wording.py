"""What near misses share: how they name an origin, a pattern and a policy."""

from __future__ import annotations

from corspolicy.core.decision import Decision
from corspolicy.core.origins import MAX_ORIGIN_BYTES
from policy_service.decisions.inputs import DecisionInput, text_of
from policy_service.decisions.schemas import DecidingPolicy, NearMiss


def near_miss(differences: list[str], message: str, decision: Decision, origin: str | None = None) -> NearMiss:
    """A near miss that `decision` allows."""
    assert decision.policy is not None
    return NearMiss(
        differences=differences,
        message=message,
        origin=origin,
        policy=DecidingPolicy(tenant=decision.policy.tenant, service=decision.policy.service),
        pattern=pattern_of(decision),
    )


def pattern_of(decision: Decision) -> str:
    """The pattern that allowed the origin."""
    return "" if decision.pattern is None else decision.pattern.decode()


def sent_origin(request: DecisionInput) -> str:
    """The Origin that was sent, cut to the length of the longest valid one."""
    value = text_of(request.value(b"origin"))
    return value if len(value) <= MAX_ORIGIN_BYTES else value[:MAX_ORIGIN_BYTES] + "…"
