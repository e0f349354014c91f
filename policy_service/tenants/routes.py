"""/v1/tenants"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from policy_service.changes.preconditions import etag
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.declarations import header
from policy_service.http.dependencies import CallerDep, ChecksDep, SessionsDep
from policy_service.http.openapi import body_schema
from policy_service.propagation.writes import RepeatableWriteDep, WriteDep, creates, deletes, writes
from policy_service.tenants import service
from policy_service.tenants.schemas import (
    TENANT_BODY,
    TENANT_PATCH_BODY,
    WHOLE_TENANT_BODY,
    ReplacedTenant,
    TenantPage,
    TenantView,
)

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])

Include = Annotated[Literal["policies"] | None, Query(description="`policies` to include them in the response")]


@router.get("", operation_id="list_tenants")
async def list_tenants(
    sessions: SessionsDep,
    caller: CallerDep,
    checks: ChecksDep,
    cursor: Cursor = None,
    limit: Limit = 100,
    include: Include = None,
) -> TenantPage:
    """All tenants, in pages: a page ends before `limit` where the tenants' policies are large (4 MiB as JSON)."""
    return await service.page(sessions, caller, checks, cursor, limit, with_policies=include is not None)


@router.post("", operation_id="create_tenant", openapi_extra=body_schema(TENANT_BODY), **creates(TenantView, 409))
async def create_tenant(write: RepeatableWriteDep, body: JsonBody) -> Response:
    """Create a tenant. Its default policy allows no origin until you add one."""
    return await write.respond(
        lambda sessions: service.create(sessions, body, write.request), lambda view: f"/v1/tenants/{view.tenant}"
    )


@router.get("/{tenant}", operation_id="get_tenant", responses={200: {"headers": header("ETag")}})
async def get_tenant(
    sessions: SessionsDep,
    caller: CallerDep,
    checks: ChecksDep,
    tenant: str,
    response: Response,
    include: Include = None,
) -> TenantView:
    """One tenant."""
    view = await service.read(sessions, caller, checks, tenant, with_policies=include is not None)
    response.headers["ETag"] = etag(view.revision)
    return view


@router.put(
    "/{tenant}",
    operation_id="put_tenant",
    openapi_extra=body_schema(WHOLE_TENANT_BODY),
    **writes(ReplacedTenant, 409, 412, 428, may_create=True),
)
async def put_tenant(write: WriteDep, tenant: str, body: JsonBody) -> Response:
    """Replace a tenant's name and all its policies in one revision. Policies left out are deleted.

    Without If-Match it creates a tenant and never overwrites one.
    """
    return await write.respond(lambda sessions: service.put(sessions, tenant, body, write.request))


@router.patch(
    "/{tenant}",
    operation_id="update_tenant",
    openapi_extra=body_schema(TENANT_PATCH_BODY),
    **writes(TenantView, 412, 428),
)
async def update_tenant(write: WriteDep, tenant: str, body: JsonBody) -> Response:
    """Change a tenant's display name."""
    return await write.respond(lambda sessions: service.rename(sessions, tenant, body, write.request))


@router.delete("/{tenant}", operation_id="delete_tenant", **deletes(409, 412, 428))
async def delete_tenant(write: WriteDep, tenant: str) -> Response:
    """Delete a tenant and all its policies: nothing of it is allowed any more. The ETag is the deletion's revision."""
    return await write.respond(lambda sessions: service.delete(sessions, tenant, write.request))
