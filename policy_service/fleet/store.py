"""What processes reported, and what they should hold."""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Any, NamedTuple

from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.wire import CHANGES, PROCESS_PREFIX, PROCESSES, ZERO_ID, mark
from policy_service.callers import Scope
from policy_service.models import Tenant

MAX_PROCESSES = 10_000


class Reports(NamedTuple):
    """The end of the stream, and the latest report of every live process."""

    cursor: str
    reports: list[bytes]


async def reports(redis: Redis) -> Reports:
    """What live processes reported; those of which nothing was heard lately are left out."""
    newest: Any = await redis.xrevrange(CHANGES, count=1)
    ids: Any = await redis.zrevrange(PROCESSES, 0, MAX_PROCESSES - 1)
    found: Any = await redis.mget([PROCESS_PREFIX + name.decode() for name in ids]) if ids else []
    cursor = newest[0][0] if newest else ZERO_ID
    return Reports(cursor.decode(), [report for report in found if report is not None])


async def digest(session: AsyncSession, scope: Scope) -> str:
    """The digest of a process that holds just what is committed."""
    rows = await session.execute(select(Tenant.slug, Tenant.revision).where(scope.where(Tenant.slug)))
    return f"{reduce(xor, (mark(slug, revision) for slug, revision in rows), 0):016x}"
