"""Whether the service lives, and whether it can serve."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from policy_service.database import DATABASE_ERRORS
from policy_service.http.container import part
from policy_service.http.dependencies import HealthSessionsDep, RedisDep
from policy_service.http.logs import printable
from policy_service.publisher import store
from policy_service.publisher.leader import Publisher
from policy_service.publisher.store import Waiting

CHECK_TIMEOUT_SECONDS = 2.0

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """What works right now."""

    ready: bool = Field(description="whether requests to the API can be served; that needs the database only")
    database: bool
    redis: bool = Field(description="without it changes are kept and published when it is back")
    publisher: str = Field(description="what this process's publisher does")
    unpublished: int | None = Field(description="changes that Redis may not have yet")
    oldest_unpublished_seconds: float | None = Field(
        description="how long the oldest of them has waited; null if there is none"
    )
    problems: list[str] = Field(
        description="what keeps changes from being published, or from staying so, until somebody changes it: here, and "
        "where the publisher leads"
    )


@router.get("/livez", operation_id="check_liveness")
async def livez() -> Alive:
    """Answers while the process does."""
    return Alive()


@router.get(
    "/readyz", operation_id="check_readiness", responses={503: {"model": Readiness, "description": "Not ready"}}
)
async def readyz(
    sessions: HealthSessionsDep, redis: RedisDep, publisher: Annotated[Publisher, part(Publisher)], response: Response
) -> Readiness:
    """200 if the API can be served, 503 if it can't."""
    waiting: Waiting | None = None
    problems = publisher.problems
    is_redis_there = False
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS), sessions() as session:
            waiting = await store.waiting(session)
            if not publisher.is_leading:
                problems += [each for each in await store.leaders_problems(session) if each not in problems]
    except DATABASE_ERRORS:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await redis.ping()
            is_redis_there = True
    except (RedisError, OSError):
        pass
    return Readiness(
        ready=waiting is not None,
        database=waiting is not None,
        redis=is_redis_there,
        # Both may name what Redis or PostgreSQL said.
        publisher=printable(publisher.state),
        unpublished=None if waiting is None else waiting.number,
        oldest_unpublished_seconds=None if waiting is None else waiting.seconds,
        problems=[printable(problem) for problem in problems],
    )
