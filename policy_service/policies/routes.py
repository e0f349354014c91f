"""/v1/tenants/{tenant}/policies"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from policy_service.changes.dry_run import DryRun
from policy_service.changes.preconditions import etag
from policy_service.documents.schemas import ENTRY_BODY, ENTRY_PATCH_BODY, POLICY_BODY
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.dependencies import CallerOf, ChangeRequestOf, SessionsOf
from policy_service.http.dry_run import DRY_RUN
from policy_service.http.openapi import body_schema, header, problems
from policy_service.policies import service as policies
from policy_service.policies.schemas import EntryPage, PolicyPage, ShownEntry, ShownPolicy
from policy_service.propagation.prefer import ChangeRoute

router = APIRouter(prefix="/v1/tenants/{tenant}/policies", route_class=ChangeRoute)


@router.get("", operation_id="list_policies", tags=["policies"])
async def list_policies(sessions: SessionsOf, caller: CallerOf, tenant: str) -> PolicyPage:
    """All policies of a tenant."""
    return await policies.list_policies(sessions, caller.scope, tenant)


@router.get("/{service}", operation_id="get_policy", tags=["policies"], responses={200: {"headers": header("ETag")}})
async def get_policy(
    sessions: SessionsOf, caller: CallerOf, tenant: str, service: str, response: Response
) -> ShownPolicy:
    """One policy: that of a service, or `default`."""
    policy = await policies.read(sessions, caller.scope, tenant, service)
    response.headers["ETag"] = etag(policy.revision)
    return policy


@router.put(
    "/{service}",
    operation_id="put_policy",
    tags=["policies"],
    openapi_extra=body_schema(POLICY_BODY),
    response_model=ShownPolicy | DryRun,
    responses={
        201: {"model": ShownPolicy, "description": "Created"},
        **problems(409, 412, 428),
    },
)
async def put_policy(
    sessions: SessionsOf,
    asked: ChangeRequestOf,
    tenant: str,
    service: str,
    body: JsonBody,
    response: Response,
) -> ShownPolicy:
    """Write a policy whole. One for a named service stands instead of the default, it does not add to it."""
    written = await policies.put(sessions, tenant, service, body, asked)
    response.headers["ETag"] = etag(written.policy.revision)
    response.status_code = HTTPStatus.CREATED if written.is_new else HTTPStatus.OK
    return written.policy


@router.delete(
    "/{service}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    operation_id="delete_policy",
    tags=["policies"],
    responses=DRY_RUN | problems(409, 412, 428),
)
async def delete_policy(
    sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, service: str, response: Response
) -> None:
    """Delete a policy. The ETag is the revision of the tenant's document without it."""
    response.headers["ETag"] = etag(await policies.delete(sessions, tenant, service, asked))


@router.get("/{service}/origins", operation_id="list_origins", tags=["origins"])
async def list_origins(
    sessions: SessionsOf, caller: CallerOf, tenant: str, service: str, cursor: Cursor = None, limit: Limit = 100
) -> EntryPage:
    """The allowed origins of a policy, in pages."""
    return await policies.list_origins(sessions, caller.scope, tenant, service, cursor, limit)


@router.post(
    "/{service}/origins",
    operation_id="add_origin",
    tags=["origins"],
    openapi_extra=body_schema(ENTRY_BODY),
    response_model=ShownEntry | DryRun,
    responses={
        201: {"model": ShownEntry, "description": "Created", "headers": header("Location")},
        **problems(412),
    },
)
async def add_origin(
    sessions: SessionsOf,
    asked: ChangeRequestOf,
    tenant: str,
    service: str,
    body: JsonBody,
    response: Response,
) -> ShownEntry:
    """Admit an origin: 201 with the new entry, or 200 with the one that is there."""
    added = await policies.add_origin(sessions, tenant, service, body, asked)
    response.headers["ETag"] = etag(added.entry.revision)
    response.headers["Location"] = f"/v1/tenants/{tenant}/policies/{service}/origins/{added.entry.id}"
    response.status_code = HTTPStatus.CREATED if added.is_new else HTTPStatus.OK
    return added.entry


@router.patch(
    "/{service}/origins/{entry}",
    operation_id="update_origin",
    tags=["origins"],
    openapi_extra=body_schema(ENTRY_PATCH_BODY),
    response_model=ShownEntry | DryRun,
    responses=problems(409, 412, 428),
)
async def update_origin(
    sessions: SessionsOf,
    asked: ChangeRequestOf,
    tenant: str,
    service: str,
    entry: str,
    body: JsonBody,
    response: Response,
) -> ShownEntry:
    """Change the note or the expiry of an entry; null clears it."""
    updated = await policies.update_origin(sessions, tenant, service, entry, body, asked)
    response.headers["ETag"] = etag(updated.revision)
    return updated


@router.delete(
    "/{service}/origins/{entry}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    operation_id="remove_origin",
    tags=["origins"],
    responses=DRY_RUN | problems(409, 412),
)
async def remove_origin(
    sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, service: str, entry: str, response: Response
) -> None:
    """Take an origin back. The ETag is the revision of the tenant's document without it."""
    response.headers["ETag"] = etag(await policies.remove_origin(sessions, tenant, service, entry, asked))
