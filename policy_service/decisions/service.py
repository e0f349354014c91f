"""Explains what the middleware would do, by asking the function that it asks."""

from __future__ import annotations

import time

from corspolicy.decision import Reason, compile_chain, decide, finer_reason
from corspolicy.document import PLATFORM, Document
from corspolicy.names import is_slug
from policy_service.callers import EVERYTHING, Scope
from policy_service.database import Sessions
from policy_service.decisions.schemas import Answer, DecidingPolicy, Question
from policy_service.publishing import to_document
from policy_service.tenants import store

_MESSAGES = {
    Reason.ALLOWED: "The request is allowed.",
    Reason.NO_ORIGIN: "The request has no Origin header: CORS plays no part, the app answers.",
    Reason.TENANT_UNKNOWN: "There is no such tenant: nothing is granted.",
    Reason.ORIGIN_MALFORMED: "No browser sends such an Origin header: it is repeated or not in canonical form.",
    Reason.ORIGIN_NOT_ALLOWED: "No policy of the tenant, nor of the platform, admits this origin.",
    Reason.METHOD_MALFORMED: "Access-Control-Request-Method is repeated or not a method.",
    Reason.METHOD_NOT_ALLOWED: "The policy that admits the origin does not list the method; case counts.",
    Reason.HEADERS_MALFORMED: "Access-Control-Request-Headers is too long or has an element that is no header name.",
    Reason.HEADERS_NOT_ALLOWED: "The policy that admits the origin does not list all requested headers.",
}


async def explain(sessions: Sessions, scope: Scope, question: Question) -> Answer:
    """Decide on a request with the tenant's current document."""
    async with sessions() as session:
        row = await store.find(session, scope, question.tenant) if is_slug(question.tenant) else None
        # It decides for everybody, also for those who may not see it.
        platform_row = await store.find(session, EVERYTHING, PLATFORM)
    document = None if row is None else to_document(row.slug, row.revision, row.document)
    platform: Document | None = None
    if platform_row is not None:
        platform = to_document(PLATFORM, platform_row.revision, platform_row.document)
    lines = _lines(question)
    decision = decide(compile_chain(question.service, document, platform), question.method, lines, time.time())
    reason = finer_reason(decision, lines)
    policy = decision.policy
    # Whoever may not see the policy that admits learns that it does, as any browser can, but not by which pattern.
    is_shown = policy is not None and scope.covers(policy.tenant)
    return Answer(
        allowed=decision.allowed,
        reason=reason,
        message=_MESSAGES[reason],
        policy=None if policy is None else DecidingPolicy(tenant=policy.tenant, service=policy.service),
        pattern=decision.pattern.decode() if is_shown and decision.pattern is not None else None,
        status=decision.status,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in decision.headers],
        revision=None if row is None else row.revision,
    )


def _lines(question: Question) -> list[tuple[bytes, bytes]]:
    # As on the wire: a character is a byte where it can be, and UTF-8 where it can't.
    return [(_bytes(name).lower(), _bytes(value)) for name, values in question.headers.items() for value in values]


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
