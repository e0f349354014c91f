"""/v1/changes, /v1/tenants/{tenant}/changes, /v1/tenants/{tenant}/restore"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import ValidationError

from policy_service.changes.dry_run import DryRun
from policy_service.changes.preconditions import etag
from policy_service.errors import validation_problem
from policy_service.history import service as history
from policy_service.history.schemas import ChangePage, Restore, Restored, ShownRevision
from policy_service.history.store import Filters
from policy_service.history.stream import Streams
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.dependencies import AuthenticateOf, CallerOf, ChangeRequestOf, SessionsOf
from policy_service.http.examples import STREAM
from policy_service.http.openapi import body_schema, problems
from policy_service.http.timestamps import Instant
from policy_service.models import MAX_REVISION
from policy_service.propagation.prefer import ChangeRoute

router = APIRouter(prefix="/v1", tags=["history"], route_class=ChangeRoute)

EVENT_STREAM = "text/event-stream"


async def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


StreamsOf = Annotated[Streams, Depends(_streams)]


def _text(description: str) -> Any:
    # PostgreSQL's text has no NUL.
    return Query(max_length=200, pattern=r"^[^\x00]*$", description=description)


Revision = Annotated[int, Path(ge=1, le=MAX_REVISION)]


async def _filters(
    tenant: Annotated[str | None, _text("of this tenant")] = None,
    actor: Annotated[str | None, _text("by this key (`key:9da3f2d6ed7f`), or for this subject")] = None,
    action: Annotated[str | None, _text("such as `origin.add`")] = None,
    since: Annotated[Instant | None, Query(description="made at this time or later")] = None,
    until: Annotated[Instant | None, Query(description="made before this time")] = None,
) -> Filters:
    return Filters(tenant, actor, action, since, until)


@router.get("/tenants/{tenant}/changes", operation_id="list_changes_of_tenant")
async def list_changes_of_tenant(
    sessions: SessionsOf, caller: CallerOf, tenant: str, cursor: Cursor = None, limit: Limit = 100
) -> ChangePage:
    """What was changed in a tenant, the newest first; also in one that is deleted."""
    return await history.page_of(sessions, caller.scope, tenant, cursor, limit)


@router.get("/tenants/{tenant}/changes/{revision}", operation_id="get_change")
async def get_change(sessions: SessionsOf, caller: CallerOf, tenant: str, revision: Revision) -> ShownRevision:
    """One change, with the documents before and after it."""
    return await history.read(sessions, caller.scope, tenant, revision)


@router.post(
    "/tenants/{tenant}/restore",
    operation_id="restore_tenant",
    openapi_extra=body_schema(Restore),
    response_model=Restored | DryRun,
    responses=problems(412, 428),
)
async def restore_tenant(
    sessions: SessionsOf, asked: ChangeRequestOf, tenant: str, body: JsonBody, response: Response
) -> Restored:
    """Make the document of an earlier revision the present one, as a new revision; of a deleted tenant, too.

    Entries that have expired since are left out, with a warning. Restoring a deleted tenant takes an admin key.
    """
    try:
        wanted = Restore.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    restored = await history.restore(sessions, tenant, wanted, asked)
    response.headers["ETag"] = etag(restored.revision)
    return restored


@router.get(
    "/changes",
    operation_id="list_changes",
    response_model=ChangePage,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": STREAM}}}},
)
async def list_changes(
    sessions: SessionsOf,
    streams: StreamsOf,
    caller: CallerOf,
    authenticate: AuthenticateOf,
    filters: Annotated[Filters, Depends(_filters)],
    cursor: Cursor = None,
    limit: Limit = 100,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="where a stream was left")] = None,
) -> Any:
    """What was changed in all tenants that the key may see, the newest first.

    With `Accept: text/event-stream` a stream of changes as they are published: those that are yet to come, those made
    at `since` or later, or those after `Last-Event-ID`. An event's `data` is an item of the list; an event without
    `data` tells only how far the stream has come.
    """
    if EVENT_STREAM in accept.lower():
        return await streams.open(sessions, caller, authenticate, filters, last_event_id)
    return await history.page(sessions, caller.scope, filters, cursor, limit)
