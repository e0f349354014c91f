"""/v1/changes, /v1/tenants/{tenant}/changes, /v1/tenants/{tenant}/restore"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response

from policy_service.history import service as history
from policy_service.history.schemas import ChangePage, Restore, Restored, RevisionView
from policy_service.history.store import Filters
from policy_service.history.stream import Streams
from policy_service.http.bodies import Cursor, JsonBody, Limit, read_model
from policy_service.http.container import part
from policy_service.http.dependencies import AuthenticateDep, CallerDep, SessionsDep
from policy_service.http.examples import STREAM
from policy_service.http.openapi import body_schema
from policy_service.http.timestamps import Timestamp
from policy_service.models import MAX_REVISION
from policy_service.propagation.writes import RepeatableWriteDep, writes

router = APIRouter(prefix="/v1", tags=["history"])

EVENT_STREAM = "text/event-stream"


def _text(description: str) -> Any:
    # PostgreSQL's text has no NUL.
    return Query(max_length=200, pattern=r"^[^\x00]*$", description=description)


Revision = Annotated[int, Path(ge=1, le=MAX_REVISION)]


async def _filters(
    tenant: Annotated[str | None, _text("of this tenant")] = None,
    actor: Annotated[str | None, _text("by this key (`key:9da3f2d6ed7f`), or for this subject")] = None,
    action: Annotated[str | None, _text("such as `origin.add`")] = None,
    since: Annotated[Timestamp | None, Query(description="made at this time or later")] = None,
    until: Annotated[Timestamp | None, Query(description="made before this time")] = None,
) -> Filters:
    return Filters(tenant, actor, action, since, until)


@router.get("/tenants/{tenant}/changes", operation_id="list_changes_of_tenant")
async def list_changes_of_tenant(
    sessions: SessionsDep, caller: CallerDep, tenant: str, cursor: Cursor = None, limit: Limit = 100
) -> ChangePage:
    """What was changed in a tenant, the newest first; also in one that is deleted. A page ends after 4 MiB at most.

    For a key to some tenants the history of each starts at its last creation: the slug may have been another's before.
    """
    return await history.page_of(sessions, caller.scope, tenant, cursor, limit)


@router.get("/tenants/{tenant}/changes/{revision}", operation_id="get_change")
async def get_change(sessions: SessionsDep, caller: CallerDep, tenant: str, revision: Revision) -> RevisionView:
    """One change, with the documents before and after it, as long as they are stored."""
    return await history.read(sessions, caller.scope, tenant, revision)


@router.post(
    "/tenants/{tenant}/restore",
    operation_id="restore_tenant",
    openapi_extra=body_schema(Restore),
    **writes(Restored, 410, 412, 428),
)
async def restore_tenant(write: RepeatableWriteDep, tenant: str, body: JsonBody) -> Response:
    """Make the document of an earlier revision the current one, as a new revision; of a deleted tenant, too.

    Entries that have expired since are left out, with a warning. The history says which revisions are `restorable`;
    others lead to 410. Restoring a deleted tenant takes an admin key.
    """
    wanted = read_model(Restore, body)
    return await write.respond(lambda sessions: history.restore(sessions, tenant, wanted, write.request))


@router.get(
    "/changes",
    operation_id="list_changes",
    response_model=ChangePage,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": STREAM}}}},
)
async def list_changes(
    sessions: SessionsDep,
    streams: Annotated[Streams, part(Streams)],
    caller: CallerDep,
    authenticate: AuthenticateDep,
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
