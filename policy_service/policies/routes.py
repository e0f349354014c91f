"""/v1/tenants/{tenant}/policies"""

from __future__ import annotations

from fastapi import APIRouter, Response

from policy_service.changes.preconditions import etag
from policy_service.documents.schemas import ENTRY_BODY, ENTRY_PATCH_BODY, POLICY_BODY
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.declarations import header
from policy_service.http.dependencies import CallerDep, SessionsDep
from policy_service.http.openapi import body_schema
from policy_service.policies import service as policies
from policy_service.policies.schemas import EntryPage, EntryView, PolicyPage, PolicyView
from policy_service.propagation.writes import RepeatableWriteDep, WriteDep, deletes, writes

router = APIRouter(prefix="/v1/tenants/{tenant}/policies")


@router.get("", operation_id="list_policies", tags=["policies"])
async def list_policies(sessions: SessionsDep, caller: CallerDep, tenant: str) -> PolicyPage:
    """All policies of a tenant."""
    return await policies.list_policies(sessions, caller.scope, tenant)


@router.get("/{service}", operation_id="get_policy", tags=["policies"], responses={200: {"headers": header("ETag")}})
async def get_policy(
    sessions: SessionsDep, caller: CallerDep, tenant: str, service: str, response: Response
) -> PolicyView:
    """One policy: that of a service, or `default`."""
    policy = await policies.read(sessions, caller.scope, tenant, service)
    response.headers["ETag"] = etag(policy.revision)
    return policy


@router.put(
    "/{service}",
    operation_id="put_policy",
    tags=["policies"],
    openapi_extra=body_schema(POLICY_BODY),
    **writes(PolicyView, 409, 412, 428, may_create=True),
)
async def put_policy(write: WriteDep, tenant: str, service: str, body: JsonBody) -> Response:
    """Write a whole policy. One for a named service replaces the default entirely."""
    return await write.respond(lambda sessions: policies.put(sessions, tenant, service, body, write.request))


@router.delete("/{service}", operation_id="delete_policy", tags=["policies"], **deletes(409, 412, 428))
async def delete_policy(write: WriteDep, tenant: str, service: str) -> Response:
    """Delete a policy. The ETag is the revision of the tenant's document without it."""
    return await write.respond(lambda sessions: policies.delete(sessions, tenant, service, write.request))


@router.get("/{service}/origins", operation_id="list_origins", tags=["origins"])
async def list_origins(
    sessions: SessionsDep, caller: CallerDep, tenant: str, service: str, cursor: Cursor = None, limit: Limit = 100
) -> EntryPage:
    """The allowed origins of a policy, in pages."""
    return await policies.list_origins(sessions, caller.scope, tenant, service, cursor, limit)


@router.post(
    "/{service}/origins",
    operation_id="add_origin",
    tags=["origins"],
    openapi_extra=body_schema(ENTRY_BODY),
    **writes(EntryView, 412, may_create=True, location=True),
)
async def add_origin(write: RepeatableWriteDep, tenant: str, service: str, body: JsonBody) -> Response:
    """Allow an origin: 201 with the new entry, or 200 with the existing one."""
    return await write.respond(
        lambda sessions: policies.add_origin(sessions, tenant, service, body, write.request),
        lambda entry: f"/v1/tenants/{tenant}/policies/{service}/origins/{entry.id}",
    )


@router.patch(
    "/{service}/origins/{entry}",
    operation_id="update_origin",
    tags=["origins"],
    openapi_extra=body_schema(ENTRY_PATCH_BODY),
    **writes(EntryView, 409, 412, 428),
)
async def update_origin(write: WriteDep, tenant: str, service: str, entry: str, body: JsonBody) -> Response:
    """Change the note or the expiry of an entry; null clears it."""
    return await write.respond(
        lambda sessions: policies.update_origin(sessions, tenant, service, entry, body, write.request)
    )


@router.delete("/{service}/origins/{entry}", operation_id="remove_origin", tags=["origins"], **deletes(409, 412))
async def remove_origin(write: WriteDep, tenant: str, service: str, entry: str) -> Response:
    """Remove an allowed origin. The ETag is the revision of the tenant's document without it."""
    return await write.respond(lambda sessions: policies.remove_origin(sessions, tenant, service, entry, write.request))
