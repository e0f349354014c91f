"""/v1/tenants"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from policy_service.changes.dry_run import DryRun
from policy_service.changes.preconditions import etag
from policy_service.changes.service import delete_tenant
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.dependencies import CallerOf, ChangeRequestOf, SessionsOf
from policy_service.http.dry_run import DRY_RUN
from policy_service.http.openapi import body_schema, header, problems
from policy_service.propagation.prefer import ChangeRoute
from policy_service.tenants import service, whole
from policy_service.tenants.schemas import (
    TENANT_BODY,
    TENANT_PATCH_BODY,
    WHOLE_TENANT_BODY,
    ShownTenant,
    TenantPage,
    WrittenTenant,
)

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=ChangeRoute)

Include = Annotated[Literal["policies"] | None, Query(description="`policies` to have them in the answer")]


@router.get("", operation_id="list_tenants")
async def list_tenants(
    sessions: SessionsOf, caller: CallerOf, cursor: Cursor = None, limit: Limit = 100, include: Include = None
) -> TenantPage:
    """All tenants, in pages; where they carry policies, a page may end before `limit`."""
    return await service.page(sessions, caller.scope, cursor, limit, with_policies=include is not None)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    operation_id="create_tenant",
    openapi_extra=body_schema(TENANT_BODY),
    responses={**DRY_RUN, 201: {"headers": header("Location")}},
)
async def create_tenant(
    sessions: SessionsOf, asked: ChangeRequestOf, body: JsonBody, response: Response
) -> ShownTenant:
    """Create a tenant. Its default policy admits nobody until you add an origin."""
    tenant = await service.create(sessions, body, asked)
    response.headers["ETag"] = etag(tenant.revision)
    response.headers["Location"] = f"/v1/tenants/{tenant.tenant}"
    return tenant


@router.get("/{tenant}", operation_id="get_tenant", responses={200: {"headers": header("ETag")}})
async def get_tenant(
    sessions: SessionsOf, caller: CallerOf, tenant: str, response: Response, include: Include = None
) -> ShownTenant:
    """One tenant."""
    shown = await service.read(sessions, caller.scope, tenant, with_policies=include is not None)
    response.headers["ETag"] = etag(shown.revision)
    return shown


@router.put(
    "/{tenant}",
    operation_id="put_tenant",
    openapi_extra=body_schema(WHOLE_TENANT_BODY),
    response_model=WrittenTenant | DryRun,
    responses={
        201: {"model": WrittenTenant, "description": "Created"},
        **problems(409, 412, 428),
    },
)
async def put_tenant(
    sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, body: JsonBody, response: Response
) -> WrittenTenant:
    """Write a tenant whole, with its name and all its policies, in one revision. Policies left out are deleted.

    Without If-Match it creates a tenant, and overwrites none.
    """
    written = await whole.put(sessions, tenant, body, asked)
    response.headers["ETag"] = etag(written.tenant.revision)
    response.status_code = HTTPStatus.CREATED if written.is_new else HTTPStatus.OK
    return written.tenant


@router.patch(
    "/{tenant}",
    operation_id="update_tenant",
    openapi_extra=body_schema(TENANT_PATCH_BODY),
    response_model=ShownTenant | DryRun,
    responses=problems(412, 428),
)
async def update_tenant(
    sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, body: JsonBody, response: Response
) -> ShownTenant:
    """Change a tenant's display name."""
    shown = await service.rename(sessions, tenant, body, asked)
    response.headers["ETag"] = etag(shown.revision)
    return shown


@router.delete(
    "/{tenant}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    operation_id="delete_tenant",
    responses=DRY_RUN | problems(409, 412, 428),
)
async def delete(sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, response: Response) -> None:
    """Delete a tenant and all its policies: nothing is granted to it any more. The ETag is the deletion's revision."""
    response.headers["ETag"] = etag(await delete_tenant(sessions, tenant, asked=asked))
