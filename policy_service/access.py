"""What routes get of the application, and who calls."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis.asyncio import Redis

from policy_service.callers import Caller
from policy_service.database import Sessions
from policy_service.keys import service as keys
from policy_service.problems import Problem

MAX_SUBJECT_LENGTH = 200

_bearer = HTTPBearer(auto_error=False, description="an API key")


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _redis(request: Request) -> Redis:
    redis: Redis = request.app.state.redis
    return redis


SessionsOf = Annotated[Sessions, Depends(_sessions)]
RedisOf = Annotated[Redis, Depends(_redis)]


async def _caller(
    sessions: SessionsOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    subject: Annotated[
        str | None,
        Header(alias="Corspolicy-Subject", description="for whom you act, such as a user of yours: for the history"),
    ] = None,
) -> Caller:
    caller = None if credentials is None else await keys.authenticate(sessions, credentials.credentials)
    if caller is None:
        detail = "Send `Authorization: Bearer <key>` with a valid API key."
        raise Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    if subject is None:
        return caller
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not (subject.isascii() and subject.isprintable()):
        detail = f"Corspolicy-Subject is a text of 1 to {MAX_SUBJECT_LENGTH} printable ASCII characters."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-subject", detail)
    return replace(caller, subject=subject)


CallerOf = Annotated[Caller, Depends(_caller)]
