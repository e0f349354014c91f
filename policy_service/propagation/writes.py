"""How every route that changes a tenant responds: once for its Idempotency-Key, and after waiting, as Prefer says.

`Prefer: wait=N` (RFC 7240) holds the response back until the change is applied everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from policy_service.auth.key_watch import KeyWatch
from policy_service.auth.shares import Shares
from policy_service.changes.preconditions import etag
from policy_service.changes.request import ChangeRequest
from policy_service.changes.results import DryRun, Result
from policy_service.database import DATABASE_ERRORS, Sessions
from policy_service.errors import Problem
from policy_service.http.container import part
from policy_service.http.declarations import answers, header, problems
from policy_service.http.dependencies import ChangeRequestDep, SessionsDep, SharesDep
from policy_service.http.idempotency.once import Once, OnceDep
from policy_service.http.replies import Reply
from policy_service.propagation.schemas import Propagation
from policy_service.propagation.service import MAX_WAIT_SECONDS, Propagations

_DESCRIPTION = (
    f"`wait=N`: respond when every live process applies the change, or after N seconds, at most {MAX_WAIT_SECONDS}. "
    "The response then has `Preference-Applied` and a member `propagation`, as GET "
    "/v1/revisions/{revision}/propagation returns it; 204 becomes 200. The change is made even if not all processes "
    "apply it in time."
)

Action = Callable[[Sessions], Awaitable[Result[Any] | DryRun]]


class Enforced(BaseModel):
    """The response to a change that has no other body."""

    revision: int = Field(description="the revision that the change made")
    propagation: Propagation


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changes a tenant."""

    request: ChangeRequest
    tenant: str | None
    """Which one; None where its path does not name it."""
    shares: Shares
    sessions: Sessions
    propagations: Propagations
    key_watch: KeyWatch
    wait: int | None
    """For how many seconds to wait until the change is applied everywhere; None: not at all."""
    once: Once | None = None

    async def respond(self, action: Action, location: Callable[[Any], str] | None = None) -> Response:
        """The response to what `action` does through the sessions that it is given.

        `location` names where a resource is, given its body. Raises what `action` raises, and Problem as `Once` does.
        """

        async def act(sessions: Sessions) -> Reply:
            return _reply(await action(sessions), location)

        caller, tenant = self.request.caller, self.tenant
        # Nobody else's turn is taken by a key that may not change that tenant.
        is_allowed = tenant is not None and caller.may_write and caller.scope.covers(tenant)
        async with self.shares.write(tenant, caller.actor) if tenant is not None and is_allowed else nullcontext():
            reply = await (act(self.sessions) if self.once is None else self.once.carry_out(act))
        # After the commit: what is waited for has to be visible to the publisher.
        if self.wait is not None and reply.revision is not None:
            reply = await self._waited(reply, reply.revision, self.wait)
        return reply.to_response()

    async def _waited(self, reply: Reply, revision: int, seconds: int) -> Reply:
        try:
            caller = self.request.caller
            waiting = self.propagations.read(self.sessions, caller, revision, seconds)
            propagation = await self.key_watch.while_valid(caller, waiting)
        except (Problem, *DATABASE_ERRORS):
            # The change is made, and no error of waiting may hide that: a preference may be left unmet.
            return reply
        body = json.loads(reply.body) if reply.body else {"revision": revision}
        body["propagation"] = propagation.model_dump(mode="json")
        status = HTTPStatus.OK if reply.status == HTTPStatus.NO_CONTENT else reply.status
        headers = {**reply.headers, "preference-applied": f"wait={seconds}"}
        return reply._replace(status=status, headers=headers, body=json.dumps(body).encode())


def _reply(outcome: Result[Any] | DryRun, location: Callable[[Any], str] | None) -> Reply:
    if isinstance(outcome, DryRun):
        headers = {} if outcome.revision is None else {"etag": etag(outcome.revision)}
        return Reply(HTTPStatus.OK, headers, outcome.model_dump_json().encode(), changed=False)
    headers = {"etag": etag(outcome.revision)}
    if outcome.body is None:
        return Reply(HTTPStatus.NO_CONTENT, headers, b"", outcome.revision)
    if location is not None:
        headers["location"] = location(outcome.body)
    status = HTTPStatus.CREATED if outcome.created else HTTPStatus.OK
    return Reply(status, headers, to_json(outcome.body), outcome.revision, outcome.changed)


@answers(headers=("Preference-Applied",))
async def _write(
    http_request: Request,
    request: ChangeRequestDep,
    shares: SharesDep,
    sessions: SessionsDep,
    propagations: Annotated[Propagations, part(Propagations)],
    key_watch: Annotated[KeyWatch, part(KeyWatch)],
    prefer: Annotated[list[str] | None, Header(alias="Prefer", description=_DESCRIPTION)] = None,
) -> Write:
    seconds = _wait(prefer or [])
    wait = None if seconds is None else min(seconds, MAX_WAIT_SECONDS)
    tenant = http_request.path_params.get("tenant")
    return Write(request, tenant, shares, sessions, propagations, key_watch, wait)


WriteDep = Annotated[Write, Depends(_write)]


async def _repeatable_write(write: WriteDep, once: OnceDep) -> Write:
    return replace(write, once=once)


RepeatableWriteDep = Annotated[Write, Depends(_repeatable_write)]
"""A POST: with an Idempotency-Key it is carried out once."""


def _wait(values: Sequence[str]) -> int | None:
    """The first `wait`; whatever can't be read is ignored, as preferences are (RFC 7240, section 2)."""
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        number = value.strip().strip('"')
        if name.strip().lower() == "wait" and number.isascii() and number.isdigit():
            # Longer than any wait, and too long for an int to be read.
            return int(number) if len(number) < 10 else MAX_WAIT_SECONDS
    return None


def writes(body: type[Any], *statuses: int, may_create: bool = False, location: bool = False) -> dict[str, Any]:
    """The declaration of a route that responds with the `body` that it wrote; `statuses` are those of its problems."""
    created = creates(body, location=location)["responses"] if may_create else {}
    return {"response_model": body | DryRun, "responses": created | problems(*statuses)}


def creates(body: type[Any], *statuses: int, location: bool = True) -> dict[str, Any]:
    """The declaration of a route that responds with the `body` that it created."""
    headers = {"headers": header("Location")} if location else {}
    responses: dict[int | str, dict[str, Any]] = {201: {"model": body, "description": "Created", **headers}}
    return {"response_model": DryRun, "responses": responses | problems(*statuses)}


def deletes(*statuses: int) -> dict[str, Any]:
    """The declaration of a route that deletes and has no other body."""
    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": DryRun | Enforced, "description": "With `dry_run`, or with `Prefer: wait`"}
    }
    responses |= problems(*statuses)
    return {"status_code": HTTPStatus.NO_CONTENT, "response_class": Response, "responses": responses}
