"""Policies of the same tenants that would allow the request, but apply to other services."""

from __future__ import annotations

from collections.abc import Iterator

from corspolicy.core.decision import compile_chain
from corspolicy.core.document import DEFAULT
from policy_service.decisions.inputs import DecisionContext, DecisionInput
from policy_service.decisions.near_misses.wording import near_miss
from policy_service.decisions.schemas import NearMiss

MAX_SERVICES = 100


def find(request: DecisionInput, context: DecisionContext) -> Iterator[NearMiss]:
    """One near miss for each such policy."""
    names = {name for document in context.documents for name in document.policies} - {context.service}
    seen: set[tuple[str, str]] = set()
    for name in sorted(names)[:MAX_SERVICES]:
        chain = compile_chain(name, context.tenant, context.platform)
        decision = request._replace(chain=chain).decide()
        policy = decision.policy
        if not decision.allowed or policy is None or not context.shows(decision):
            continue
        if (policy.tenant, policy.service) in seen:
            continue
        seen.add((policy.tenant, policy.service))
        if policy.service == DEFAULT:
            message = (
                f"The default policy of tenant {policy.tenant} allows this, but does not apply: service "
                f"{context.service} has a policy of its own, which replaces the default entirely. Allow it there too, "
                "or delete that policy."
            )
        else:
            message = (
                f"The policy {policy.service} of tenant {policy.tenant} allows this, but the request was sent to "
                f"service {context.service}: allow it there too."
            )
        yield near_miss(["other_service"], message, decision)
