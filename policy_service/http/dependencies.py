"""What routes get of the application, who calls, and what is asked with a change."""

from __future__ import annotations

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
from policy_service.changes.request import ChangeRequest
from policy_service.database import Sessions
from policy_service.errors import MAX_ERRORS, ErrorItem, Problem
from policy_service.http.bodies import IfMatch
from policy_service.http.openapi import printable
from policy_service.settings import Settings

MAX_SUBJECT_LENGTH = 200
MAX_REASON_LENGTH = 500

_bearer = HTTPBearer(auto_error=False, description="an API key")


async def _sessions(request: Request) -> Sessions:
    # A request that runs in one transaction has sessions of its own.
    sessions: Sessions = getattr(request.state, "sessions", request.app.state.sessions)
    return sessions


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _redis(request: Request) -> Redis:
    redis: Redis = request.app.state.redis
    return redis


SessionsOf = Annotated[Sessions, Depends(_sessions)]
SettingsOf = Annotated[Settings, Depends(_settings)]
RedisOf = Annotated[Redis, Depends(_redis)]


async def _authentication(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Authenticate:
    authenticator: Authenticator = request.app.state.authenticator
    text = None if credentials is None else credentials.credentials
    return partial(authenticator.authenticate, text, "" if request.client is None else request.client.host)


AuthenticateOf = Annotated[Authenticate, Depends(_authentication)]


async def _caller(
    authenticate: AuthenticateOf,
    subject: Annotated[
        str | None,
        Header(
            alias="Corspolicy-Subject",
            description="for whom you act, such as a user of yours: for the history",
            json_schema_extra=printable(MAX_SUBJECT_LENGTH),
        ),
    ] = None,
) -> Caller:
    caller = await authenticate()
    if subject is None:
        return caller
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not (subject.isascii() and subject.isprintable()):
        detail = f"Corspolicy-Subject is a text of 1 to {MAX_SUBJECT_LENGTH} printable ASCII characters."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-subject", detail)
    return replace(caller, subject=subject)


CallerOf = Annotated[Caller, Depends(_caller)]


async def refuse_unknown_parameters(request: Request, caller: CallerOf) -> None:
    """Raises Problem 422 for a query parameter that the OpenAPI document does not have.

    A `dry-run` that is ignored would be a change that was made, a filter that is ignored everything.
    """
    if not request.query_params:
        return
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
    if errors := [_unknown(name, known) for name in request.query_params if name not in known][:MAX_ERRORS]:
        detail = "Nothing was done: see errors."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors)


def _unknown(name: str, known: list[str]) -> ErrorItem:
    detail = (
        f"There is no such parameter. {'The parameters are ' + ', '.join(known) if known else 'There is none here'}."
    )
    nearest = next(iter(get_close_matches(name, known, 1)), None)
    return ErrorItem(code="unknown_parameter", pointer=json_pointer("query", name), detail=detail, suggestion=nearest)


async def _change_request(
    caller: CallerOf,
    if_match: IfMatch,
    reason: Annotated[
        str | None,
        Header(
            alias="Corspolicy-Reason",
            description="why, for the history; UTF-8, percent-encoded where need be",
            json_schema_extra=printable(),
        ),
    ] = None,
    dry_run: Annotated[bool, Query(description="write nothing: answer what the change would do")] = False,
    confirm: Annotated[
        bool, Query(description="make the change even if it takes away more than half of a policy's origins")
    ] = False,
) -> ChangeRequest:
    return ChangeRequest(caller, if_match, None if reason is None else _reason(reason), dry_run, confirm)


def _reason(header: str) -> str:
    try:
        # The bytes of a header come as Latin-1, whatever they are.
        reason = unquote(header.encode("latin-1").decode(), errors="strict")
    except UnicodeDecodeError:
        reason = ""
    if not 0 < len(reason) <= MAX_REASON_LENGTH or not reason.isprintable():
        detail = (
            f"Corspolicy-Reason is a text of 1 to {MAX_REASON_LENGTH} printable characters, in UTF-8 and "
            "percent-encoded where it is not ASCII."
        )
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-reason", detail)
    return reason


ChangeRequestOf = Annotated[ChangeRequest, Depends(_change_request)]
