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
from policy_service.keys.authentication import Authenticator
from policy_service.problems import Problem
from policy_service.settings import Settings

MAX_SUBJECT_LENGTH = 200

_bearer = HTTPBearer(auto_error=False, description="an API key")


def _sessions(request: Request) -> Sessions:
    # A request that runs in one transaction has sessions of its own.
    sessions: Sessions = getattr(request.state, "sessions", request.app.state.sessions)
    return sessions


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _redis(request: Request) -> Redis:
    redis: Redis = request.app.state.redis
    return redis


SessionsOf = Annotated[Sessions, Depends(_sessions)]
SettingsOf = Annotated[Settings, Depends(_settings)]
RedisOf = Annotated[Redis, Depends(_redis)]


async def _caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    subject: Annotated[
        str | None,
        Header(alias="Corspolicy-Subject", description="for whom you act, such as a user of yours: for the history"),
    ] = None,
) -> Caller:
    authenticator: Authenticator = request.app.state.authenticator
    text = None if credentials is None else credentials.credentials
    caller = await authenticator.authenticate(text, "" if request.client is None else request.client.host)
    if subject is None:
        return caller
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not (subject.isascii() and subject.isprintable()):
        detail = f"Corspolicy-Subject is a text of 1 to {MAX_SUBJECT_LENGTH} printable ASCII characters."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-subject", detail)
    return replace(caller, subject=subject)


CallerOf = Annotated[Caller, Depends(_caller)]
