"""What processes reported, and what they should hold."""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.wire import CHANGES, PROCESS_PREFIX, PROCESSES, REPORT_TTL_SECONDS, ZERO_ID, mark
from policy_service.callers import Scope
from policy_service.models import Tenant

MAX_PROCESSES = 10_000


class Heard(NamedTuple):
    """The latest report of a live process, and how long ago it came, in seconds."""

    id: str
    report: bytes
    silence: float


class Reports(NamedTuple):
    """The end of the stream, and then the latest report of every live process."""

    cursor: str
    heard: list[Heard]


async def reports(redis: Redis) -> Reports:
    """What live processes reported; those of which nothing was heard lately are left out."""
    cursor = await _last_id(redis)
    ids: Any = await redis.zrevrange(PROCESSES, 0, MAX_PROCESSES - 1)
    names = [name.decode("utf-8", "replace") for name in ids]
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.get(PROCESS_PREFIX + name)
        pipeline.pttl(PROCESS_PREFIX + name)
    answers: Any = await pipeline.execute()
    heard = [
        Heard(name, report, max(0.0, REPORT_TTL_SECONDS - left / 1000))
        for name, report, left in zip(names, answers[::2], answers[1::2], strict=True)
        if report is not None
    ]
    return Reports(cursor.decode(), heard)


async def _last_id(redis: Redis) -> bytes:
    """The id of the last entry that the stream has had, also where that was cut off since."""
    try:
        information: Any = await redis.xinfo_stream(CHANGES)
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return ZERO_ID
    last: bytes = information["last-generated-id"]
    return last


async def digest(session: AsyncSession, scope: Scope) -> str:
    """The digest of a process that holds just what is committed."""
    rows = await session.execute(select(Tenant.slug, Tenant.revision).where(scope.where(Tenant.slug)))
    return f"{reduce(xor, (mark(slug, revision) for slug, revision in rows), 0):016x}"
