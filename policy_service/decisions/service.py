"""Explains what the middleware would do, by asking the function that it asks."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any

from corspolicy.core.decision import Decision, Reason, compile_chain, finer_reason
from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.names import is_slug
from corspolicy.core.request import Line
from policy_service.auth.callers import EVERYTHING, Scope
from policy_service.database import Sessions
from policy_service.decisions import near_misses, pasted
from policy_service.decisions.near_misses import Asked, Surroundings
from policy_service.decisions.schemas import Answer, DecidingPolicy, NearMiss, Question
from policy_service.documents.build import read_draft
from policy_service.documents.model import StoredDocument
from policy_service.documents.published import to_document
from policy_service.errors import Problem
from policy_service.history import store as history
from policy_service.models import Change
from policy_service.tenants import store

_MESSAGES = {
    Reason.NO_ORIGIN: "The request has no Origin header: CORS plays no part, the app answers.",
    Reason.TENANT_UNKNOWN: "There is no tenant {tenant!r}: nothing is granted. See how the service names its tenants.",
    Reason.ORIGIN_MALFORMED: "No browser sends such an Origin header: {defect}",
    Reason.ORIGIN_NOT_ALLOWED: "Neither tenant {tenant} nor the platform admits {origin} for service {service}: if it "
    "is meant, add it to the tenant's policy {policy}.",
    Reason.METHOD_MALFORMED: "Access-Control-Request-Method is repeated or not a method: no browser sends it so.",
    Reason.METHOD_NOT_ALLOWED: "The policy that admits the origin does not list the method; case counts.",
    Reason.HEADERS_MALFORMED: "Access-Control-Request-Headers is too long or has an element that is no header name: "
    "have the page send fewer headers, and valid ones.",
    Reason.HEADERS_NOT_ALLOWED: "The policy that admits the origin does not list all requested headers.",
}


async def explain(sessions: Sessions, scope: Scope, question: Question) -> Answer:
    """Decide on a request with a tenant's document: the current one, an earlier one, or one with a draft in it."""
    method, lines = _request(question)
    tenant, platform = await _documents(sessions, scope, question)
    revision = None if tenant is None else tenant.revision
    if question.draft is not None:
        draft = read_draft(question.service, question.draft, "/draft")
        if tenant is not None:
            tenant = Document(tenant.tenant, tenant.revision, {**tenant.policies, question.service: draft})
    now = time.time() if question.at is None else question.at.timestamp()
    asked = Asked(compile_chain(question.service, tenant, platform), method, lines, now)
    around = Surroundings(question.service, tenant, platform, scope)
    decision = asked.decide()
    # In a thread: a long list of origins takes its time, and publishing must not wait for it.
    found = await asyncio.to_thread(near_misses.find, asked, decision, around)
    policy = decision.policy
    # Whoever may not see the policy that admits learns that it does, as any browser can, but not by which pattern.
    is_shown = decision.pattern is not None and around.shows(decision)
    return Answer(
        allowed=decision.allowed,
        reason=finer_reason(decision, lines),
        message=_message(question, asked, decision, around, found),
        policy=None if policy is None else DecidingPolicy(tenant=policy.tenant, service=policy.service),
        pattern=decision.pattern.decode() if is_shown and decision.pattern is not None else None,
        status=decision.status,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in decision.headers],
        revision=revision,
        near_misses=found,
    )


async def _documents(sessions: Sessions, scope: Scope, question: Question) -> tuple[Document | None, Document | None]:
    """The tenant's document and the platform's, which decides for everybody, also for those who may not see it."""
    slug = question.tenant
    async with sessions() as session:
        if question.revision is None:
            row = await store.find(session, scope, slug) if is_slug(slug) else None
            platform = await store.find(session, EVERYTHING, PLATFORM)
            return (
                None if row is None else _read(slug, row.revision, row.document),
                None if platform is None else _read(PLATFORM, platform.revision, platform.document),
            )
        then = await history.find(session, scope, slug, question.revision) if is_slug(slug) else None
        if then is None:
            detail = f"There is no revision {question.revision} of a tenant {slug!r}."
            raise Problem(HTTPStatus.NOT_FOUND, "unknown-revision", detail)
        platform_then = await history.find_last(session, EVERYTHING, PLATFORM, question.revision)
    return _made_by(then), None if platform_then is None else _made_by(platform_then)


def _made_by(change: Change) -> Document | None:
    return None if change.after is None else _read(change.tenant, change.revision, change.after)


def _read(tenant: str, revision: int, stored: dict[str, Any]) -> Document:
    return to_document(tenant, revision, StoredDocument.model_validate(stored))


def _message(question: Question, asked: Asked, decision: Decision, around: Surroundings, found: list[NearMiss]) -> str:
    if decision.allowed:
        return _allowed_message(asked, decision, around)
    if found:
        return found[0].message
    defect = near_misses.defect(asked)
    return _MESSAGES[finer_reason(decision, asked.lines)].format(
        tenant=question.tenant,
        service=question.service,
        origin=asked.value(b"origin").decode("latin-1"),
        policy=around.tenant and around.tenant.policy_name(question.service),
        defect="it is not one scheme, host and port in a browser's form." if defect is None else defect.message,
    )


def _allowed_message(asked: Asked, decision: Decision, around: Surroundings) -> str:
    policy = decision.policy
    assert policy is not None
    by = f"by the policy {policy.service} of tenant {policy.tenant}" if around.shows(decision) else "by the platform"
    has_leave = any(name == b"access-control-allow-credentials" for name, _ in decision.headers)
    if asked.value(b"cookie") and not has_leave:
        return (
            f"The request is allowed {by}, but without credentials, and it carries cookies: browsers keep the answer "
            "from the page. Turn allow_credentials on, or have the page send none."
        )
    return f"The request is allowed {by}."


def _request(question: Question) -> tuple[str, tuple[Line, ...]]:
    if question.request is None:
        method = question.method
        headers = [(name, value) for name, values in question.headers.items() for value in values]
    else:
        method, headers = pasted.read(question.request)
    # As on the wire: a character is a byte where it can be, and UTF-8 where it can't.
    return method, tuple((_bytes(name).lower(), _bytes(value)) for name, value in headers)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
