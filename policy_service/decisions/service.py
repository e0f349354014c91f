"""Explains what the middleware would do, by asking the function that it asks."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.core.decision import Decision, Reason, compile_chain, finer_reason
from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.names import is_slug
from corspolicy.core.request import MAX_REQUEST_HEADERS_BYTES
from policy_service.auth.callers import EVERYTHING, Caller, Scope
from policy_service.auth.checks import Checks
from policy_service.database import Sessions
from policy_service.decisions.inputs import DecisionContext, DecisionInput, text_of
from policy_service.decisions.near_misses import malformed, nearest
from policy_service.decisions.requests import SentRequest, sent_request
from policy_service.decisions.schemas import DecidedRequest, DecidingPolicy, DecisionRequest, Explanation, NearMiss
from policy_service.documents.build import read_draft
from policy_service.documents.model import StoredDocument
from policy_service.documents.published import to_document
from policy_service.errors import Problem
from policy_service.history import store as history
from policy_service.history.service import compacted
from policy_service.models import Change
from policy_service.tenants import store

_MESSAGES = {
    Reason.NO_ORIGIN: "The request has no Origin header: CORS does not apply, and the service's app responds.",
    Reason.TENANT_UNKNOWN: "Unknown tenant {tenant!r}: nothing is allowed. Check how the service finds the tenant.",
    Reason.ORIGIN_MALFORMED: "{malformed}",
    Reason.ORIGIN_NOT_ALLOWED: "Neither tenant {tenant} nor the platform allows {origin} for service {service}: if "
    "intended, add it to the tenant's policy {policy}.",
    Reason.METHOD_MALFORMED: "Access-Control-Request-Method is repeated or not a method, and browsers send one: find "
    "what changes it on the way.",
    Reason.METHOD_NOT_ALLOWED: "The policy that allows the origin does not list the method (case-sensitive).",
    Reason.HEADERS_MALFORMED: "Access-Control-Request-Headers is too long or holds something that is not a header "
    "name: have the page send fewer headers, and valid ones.",
    Reason.HEADERS_NOT_ALLOWED: "The policy that allows the origin does not list all requested headers.",
}
_ADD_ORIGIN = " Browsers add it to a page's cross-origin requests: to decide on one, add it to what you pasted."


class Stored(NamedTuple):
    """A tenant's document as the database has it."""

    tenant: str
    revision: int
    document: dict[str, Any]


async def explain(sessions: Sessions, caller: Caller, checks: Checks, decision_request: DecisionRequest) -> Explanation:
    """Decide on a request with a tenant's document: the current one, an earlier one, or one with a draft in it."""
    # Read before the tenant is looked up, so that no transaction is open meanwhile.
    sent = await checks.run(caller, sent_request, decision_request)
    stored = await _documents(sessions, caller.scope, decision_request)
    return await checks.run(caller, _decide, sent, decision_request, caller, *stored)


def _decide(
    sent: SentRequest,
    decision_request: DecisionRequest,
    caller: Caller,
    stored_tenant: Stored | None,
    stored_platform: Stored | None,
) -> Explanation:
    tenant, platform = _read(stored_tenant), _read(stored_platform)
    revision = None if tenant is None else tenant.revision
    service = decision_request.service
    if decision_request.draft is not None:
        draft = read_draft(service, decision_request.draft, "/draft", caller.limits)
        if tenant is not None:
            tenant = Document(tenant.tenant, tenant.revision, {**tenant.policies, service: draft})
    now = time.time() if decision_request.at is None else decision_request.at.timestamp()
    request = DecisionInput(compile_chain(service, tenant, platform), sent.method, sent.lines, now)
    context = DecisionContext(service, tenant, platform, caller.scope)
    return _explain(sent, request, context, decision_request.tenant, revision)


def _explain(
    sent: SentRequest, request: DecisionInput, context: DecisionContext, slug: str, revision: int | None
) -> Explanation:
    decision = request.decide()
    if sent.preflight is not None:
        preflight = request._replace(method="OPTIONS", lines=sent.preflight)
        if not (first := preflight.decide()).allowed:
            request, decision = preflight, first
    found = nearest.find(request, decision, context)
    message = _message(sent, request, decision, context, slug, found)
    if request.lines is sent.preflight:
        message = f"Before this {sent.method}, browsers send a preflight, which is denied. {message}"
    policy = decision.policy
    # A caller that may not see the policy learns that it allows the origin, as any browser can, but not the pattern.
    pattern = decision.pattern if context.shows(decision) else None
    return Explanation(
        allowed=decision.allowed,
        reason=finer_reason(decision, request.lines),
        message=message,
        decided_on=_decided_on(request, sent.read_from),
        policy=None if policy is None else DecidingPolicy(tenant=policy.tenant, service=policy.service),
        pattern=None if pattern is None else pattern.decode(),
        status=decision.status,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in decision.headers],
        revision=revision,
        near_misses=found,
    )


def _decided_on(request: DecisionInput, read_from: str | None) -> DecidedRequest:
    def value(name: bytes) -> str | None:
        return text_of(request.value(name)[:MAX_REQUEST_HEADERS_BYTES]) if request.has(name) else None

    return DecidedRequest(
        read_from=read_from,
        method=request.method,
        origin=value(b"origin"),
        requested_method=value(b"access-control-request-method"),
        requested_headers=value(b"access-control-request-headers"),
    )


async def _documents(
    sessions: Sessions, scope: Scope, decision_request: DecisionRequest
) -> tuple[Stored | None, Stored | None]:
    """The tenant's document and the platform's, which decides for everybody, also for those who may not see it."""
    slug = decision_request.tenant
    async with sessions() as session:
        if decision_request.revision is None:
            row = await store.find(session, scope, slug) if is_slug(slug) else None
            platform = await store.find(session, EVERYTHING, PLATFORM)
            return (
                None if row is None else Stored(slug, row.revision, row.document),
                None if platform is None else Stored(PLATFORM, platform.revision, platform.document),
            )
        then = await history.find(session, scope, slug, decision_request.revision) if is_slug(slug) else None
        if then is None:
            detail = f"Tenant {slug!r} has no revision {decision_request.revision}."
            raise Problem(HTTPStatus.NOT_FOUND, "unknown-revision", detail)
        platform_then = await history.find_last(session, EVERYTHING, PLATFORM, decision_request.revision)
    for change, visible in ((then, scope), (platform_then, EVERYTHING)):
        if change is not None and change.compacted_at is not None:
            raise await compacted(sessions, visible, change.tenant, change.revision)
    return _made_by(then), None if platform_then is None else _made_by(platform_then)


def _made_by(change: Change) -> Stored | None:
    return None if change.after is None else Stored(change.tenant, change.revision, change.after)


def _read(stored: Stored | None) -> Document | None:
    if stored is None:
        return None
    return to_document(stored.tenant, stored.revision, StoredDocument.model_validate(stored.document))


def _message(
    sent: SentRequest,
    request: DecisionInput,
    decision: Decision,
    context: DecisionContext,
    slug: str,
    found: list[NearMiss],
) -> str:
    if decision.allowed:
        return _allowed_message(sent, request, decision, context)
    if found:
        return found[0].message
    reason = finer_reason(decision, request.lines)
    if reason is Reason.NO_ORIGIN and sent.read_from is not None:
        return _MESSAGES[reason] + _ADD_ORIGIN
    return _MESSAGES[reason].format(
        tenant=slug,
        service=context.service,
        origin=text_of(request.value(b"origin")),
        policy=context.tenant and context.tenant.policy_name(context.service),
        malformed=malformed.explain(request) if reason is Reason.ORIGIN_MALFORMED else "",
    )


def _allowed_message(sent: SentRequest, request: DecisionInput, decision: Decision, context: DecisionContext) -> str:
    policy = decision.policy
    assert policy is not None
    by = f"by the policy {policy.service} of tenant {policy.tenant}" if context.shows(decision) else "by the platform"
    with_credentials = any(name == b"access-control-allow-credentials" for name, _ in decision.headers)
    if with_credentials or not (sent.has_credentials or request.has(b"cookie")):
        return f"The request is allowed {by}."
    listed = "list the origin and set" if decision.pattern == b"*" else "set"
    return (
        f"The request is allowed {by}, but not with credentials, which it carries: browsers do not let the page read "
        f"the response. If intended, {listed} allow_credentials, or have the page send no credentials."
    )
