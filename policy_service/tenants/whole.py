"""Whole tenants: the name and all policies, written as one revision."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from corspolicy.core.names import is_service, is_slug
from corspolicy.core.validation import MAX_REPORTED, json_pointer
from policy_service.auth.callers import Role
from policy_service.changes.request import ChangeRequest
from policy_service.changes.service import Changed, change_tenant, create_tenant
from policy_service.database import Sessions
from policy_service.documents.build import WHAT_A_SERVICE_IS, build_policy
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.errors import ErrorItem, Problem
from policy_service.tenants.schemas import ShownTenant, WrittenTenant
from policy_service.tenants.service import WHAT_A_TENANT_IS, name_errors, unknown_fields

_FIELDS = ("name", "policies")
_READ_ONLY = ShownTenant.model_fields.keys() - _FIELDS


class Written(NamedTuple):
    """A tenant after a write, and whether the write made it."""

    tenant: WrittenTenant
    is_new: bool


async def put(sessions: Sessions, tenant: str, body: Any, asked: ChangeRequest) -> Written:
    """Write a tenant whole, or create it. Entries that stay keep their id and history."""
    if not is_slug(tenant):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", WHAT_A_TENANT_IS)
    actor = asked.caller.actor
    if asked.if_match.is_missing and asked.caller.role is Role.ADMIN:
        document, warnings = _build(body, StoredDocument(), actor)
        created = await create_tenant(sessions, tenant, document, warnings, asked=asked)
        if created is not None:
            return Written(_shown(tenant, created), is_new=True)

    def change(document: StoredDocument) -> Sequence[ErrorItem]:
        new, warnings = _build(body, document, actor)
        document.name, document.policies = new.name, new.policies
        return warnings

    changed = await change_tenant(
        sessions,
        tenant,
        asked=asked,
        action="tenant.put",
        change=change,
        precondition=lambda _, revision: asked.if_match.require(revision),
    )
    return Written(_shown(tenant, changed), is_new=False)


def _shown(tenant: str, changed: Changed) -> WrittenTenant:
    return WrittenTenant(
        tenant=tenant,
        name=changed.document.name,
        services=sorted(changed.document.policies),
        revision=changed.revision,
        warnings=list(changed.warnings),
    )


def _build(body: Any, old: StoredDocument, actor: str) -> tuple[StoredDocument, list[ErrorItem]]:
    """The document that `body` describes, and its warnings. Raises Problem with everything that is wrong."""
    if isinstance(body, dict):
        # What was read can be written back.
        body = {name: value for name, value in body.items() if name not in _READ_ONLY}
    errors, warnings = unknown_fields(body, _FIELDS), list[ErrorItem]()
    values = body if isinstance(body, dict) else {}
    name, policies = values.get("name", ""), values.get("policies")
    errors += name_errors(name)
    if not isinstance(policies, dict):
        detail = "policies is an object: each of the tenant's policies, by service or `default`."
        errors.append(ErrorItem(code="not_an_object", pointer="/policies", detail=detail))
        policies = {}
    built: dict[str, StoredPolicy] = {}
    for service, policy in policies.items():
        pointer = "/policies" + json_pointer(service)
        if not is_service(service):
            errors.append(ErrorItem(code="service_invalid", pointer=pointer, detail=WHAT_A_SERVICE_IS))
        try:
            built[service], found = build_policy(policy, old.policies.get(service), actor)
            warnings += _beneath(pointer, found)
        except Problem as problem:
            errors += _beneath(pointer, problem.errors)
    if errors:
        detail = "Nothing was changed: see errors."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-tenant", detail, errors[:MAX_REPORTED])
    return StoredDocument(name=name, policies=built), warnings[:MAX_REPORTED]


def _beneath(pointer: str, items: Sequence[ErrorItem]) -> list[ErrorItem]:
    return [item.model_copy(update={"pointer": pointer + item.pointer}) for item in items]
