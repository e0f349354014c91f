"""What routes depend on: the process's parts, the caller, and what a caller asks for with a change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from http import HTTPStatus
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis.asyncio import Redis

from corspolicy.core.validation import json_pointer
from policy_service.auth.authentication import Authenticator
from policy_service.auth.callers import Authenticate, Caller
from policy_service.auth.checks import Checks
from policy_service.auth.shares import Shares
from policy_service.changes.preconditions import Precondition
from policy_service.changes.request import ChangeRequest
from policy_service.database import Sessions
from policy_service.errors import ErrorItem, Problem, invalid_request
from policy_service.http.container import part
from policy_service.http.declarations import answers, printable
from policy_service.settings import Settings

MAX_SUBJECT_LENGTH = 200
MAX_REASON_LENGTH = 500
MAX_UNKNOWN = 10
"""How many unknown query parameters a response names: finding what was meant takes a while for each."""

_bearer = HTTPBearer(auto_error=False, description="an API key")


SharesDep = Annotated[Shares, part(Shares)]
SettingsDep = Annotated[Settings, part(Settings)]
RedisDep = Annotated[Redis, part(Redis)]
ChecksDep = Annotated[Checks, part(Checks)]


async def _authentication(
    request: Request,
    authenticator: Annotated[Authenticator, part(Authenticator)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Authenticate:
    text = None if credentials is None else credentials.credentials
    return partial(authenticator.authenticate, text, _address(request))


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


AuthenticateDep = Annotated[Authenticate, Depends(_authentication)]


@answers(400, 401, 429, 503)
async def _caller(
    authenticate: AuthenticateDep,
    shares: SharesDep,
    subject: Annotated[
        str | None,
        Header(
            alias="Corspolicy-Subject",
            description="for whom you act, such as a user of yours: for the history",
            json_schema_extra=printable(MAX_SUBJECT_LENGTH),
        ),
    ] = None,
) -> AsyncIterator[Caller]:
    caller = await authenticate()
    # Until the response is sent.
    with shares.requests.place(caller.actor):
        yield caller if subject is None else replace(caller, subject=_checked(subject))


def _checked(subject: str) -> str:
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not (subject.isascii() and subject.isprintable()):
        detail = f"Corspolicy-Subject must be 1 to {MAX_SUBJECT_LENGTH} printable ASCII characters."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-subject", detail)
    return subject


CallerDep = Annotated[Caller, Depends(_caller)]


async def _sessions(caller: CallerDep, sessions: Annotated[Sessions, part(Sessions)], shares: SharesDep) -> Sessions:
    return sessions.within(partial(shares.connections.turn, caller.actor))


SessionsDep = Annotated[Sessions, Depends(_sessions)]
"""Within the share of the caller's key."""


async def _health_sessions(
    request: Request, sessions: Annotated[Sessions, part(Sessions)], shares: SharesDep
) -> Sessions:
    return sessions.within(partial(shares.health_checks.turn, _address(request)))


HealthSessionsDep = Annotated[Sessions, Depends(_health_sessions)]
"""For requests without a key, by their address."""


@answers(422)
async def reject_unknown_parameters(request: Request, caller: CallerDep) -> None:
    """Raise Problem 422 for a query parameter that the OpenAPI document does not have.

    An ignored `dry-run` would be a change that is made, an ignored filter a page of everything.
    """
    if not request.query_params:
        return
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
    if unknown := [name for name in request.query_params if name not in known]:
        raise invalid_request([_unknown(name, known) for name in unknown[:MAX_UNKNOWN]])


def _unknown(name: str, known: list[str]) -> ErrorItem:
    detail = f"Unknown query parameter: {'use one of ' + ', '.join(known) if known else 'this operation takes none'}."
    nearest = next(iter(get_close_matches(name, known, 1)), None)
    return ErrorItem(code="unknown_parameter", pointer=json_pointer("query", name), detail=detail, suggestion=nearest)


@answers(403, headers=("ETag",))
async def _change_request(
    caller: CallerDep,
    checks: ChecksDep,
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="the ETag that you read, or `*` to overwrite anything")
    ] = None,
    reason: Annotated[
        str | None,
        Header(
            alias="Corspolicy-Reason",
            description="why, for the history; UTF-8, percent-encoded where need be",
            json_schema_extra=printable(),
        ),
    ] = None,
    dry_run: Annotated[bool, Query(description="write nothing: return what the change would do")] = False,
    confirm: Annotated[
        bool, Query(description="make the change even if it removes more than half of a policy's origins")
    ] = False,
) -> ChangeRequest:
    why = None if reason is None else _reason(reason)
    return ChangeRequest(caller, Precondition(if_match), why, dry_run, confirm, checks)


def _reason(header: str) -> str:
    try:
        # The bytes of a header come as Latin-1, whatever they are.
        reason = unquote(header.encode("latin-1").decode(), errors="strict")
    except UnicodeDecodeError:
        reason = ""
    if not 0 < len(reason) <= MAX_REASON_LENGTH or not reason.isprintable():
        detail = (
            f"Corspolicy-Reason must be 1 to {MAX_REASON_LENGTH} printable characters, in UTF-8, percent-encoded where "
            "they are not ASCII."
        )
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-reason", detail)
    return reason


ChangeRequestDep = Annotated[ChangeRequest, Depends(_change_request)]
