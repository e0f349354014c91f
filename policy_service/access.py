"""What routes get of the application and of the caller."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis.asyncio import Redis

from policy_service.database import Sessions
from policy_service.keys import service as keys
from policy_service.problems import Problem

_bearer = HTTPBearer(auto_error=False, description="an API key")


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _redis(request: Request) -> Redis:
    redis: Redis = request.app.state.redis
    return redis


SessionsOf = Annotated[Sessions, Depends(_sessions)]
RedisOf = Annotated[Redis, Depends(_redis)]


async def _actor(
    sessions: SessionsOf, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    actor = None if credentials is None else await keys.authenticate(sessions, credentials.credentials)
    if actor is None:
        detail = "Send `Authorization: Bearer <key>` with a valid API key."
        raise Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    return actor


Actor = Annotated[str, Depends(_actor)]
