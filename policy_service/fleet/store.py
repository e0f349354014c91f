"""What processes reported, and what they should hold."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.sync.connection import last_id
from corspolicy.sync.wire import PROCESS_PREFIX, PROCESSES, REPORT_TTL_SECONDS

MAX_PROCESSES = 10_000

# `wire.mark` of every tenant, xor-ed: in the database, for there may be many.
_DIGEST = text("""
SELECT lpad(to_hex(coalesce(bit_xor(('x' || left(hash, 16))::bit(64)::bigint), 0)), 16, '0')
FROM (SELECT encode(sha256(convert_to(slug || ' ' || revision, 'UTF8')), 'hex') AS hash FROM tenants) AS hashes
""")


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
    cursor = await last_id(redis)
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


async def digest(session: AsyncSession) -> str:
    """The digest of a process that holds just what is committed."""
    digest: str = (await session.execute(_DIGEST)).scalar_one()
    return digest
