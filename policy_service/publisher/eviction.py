"""Whether Redis may remove what is published, to make room for something else."""

from __future__ import annotations

import logging
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

logger = logging.getLogger(__name__)


async def eviction_problem(redis: Redis, known: str | None) -> str | None:
    """What is wrong with Redis's eviction policy, logged unless it is `known`; None where it can't be read either."""
    try:
        memory: dict[str, Any] = await redis.info("memory")
    except ResponseError as error:
        logger.debug("this user may not read Redis's eviction policy: %s", error)
        return None
    policy, limit = memory.get("maxmemory_policy", "noeviction"), memory.get("maxmemory", 0)
    if policy == "noeviction" or not limit:
        return None
    problem = (
        f"Redis may evict policies and reports: its maxmemory-policy is {policy}. Set it to noeviction, or use a Redis "
        "that holds nothing else."
    )
    if problem != known:
        logger.warning("%s", problem)
    return problem
