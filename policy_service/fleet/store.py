"""What processes reported, and what they should hold."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from corspolicy.sync.connection import last_id
from corspolicy.sync.wire import DATABASE_FIELD, REPORT_TTL_SECONDS, Keys
from policy_service.models import Change, Publication
from policy_service.publisher import store as publisher
from policy_service.publisher.scripts import AWAY_SECONDS, REGISTER_FIELD

MAX_PROCESSES = 10_000

# `wire.mark` of every tenant, xor-ed: in the database, for there may be many.
_DIGEST = text("""
SELECT CASE WHEN NOT EXISTS (SELECT FROM changes WHERE published_at IS NULL)
    AND :position = (SELECT coalesce(max(position), 0) FROM changes)
THEN (
    SELECT lpad(to_hex(coalesce(bit_xor(('x' || left(hash, 16))::bit(64)::bigint), 0)), 16, '0')
    FROM (SELECT encode(sha256(convert_to(slug || ' ' || revision, 'UTF8')), 'hex') AS hash FROM tenants) AS hashes
) END
""")


class Position(NamedTuple):
    """A place in the stream of changes."""

    milliseconds: int
    number: int

    @classmethod
    def parse(cls, entry_id: str) -> Position:
        """An entry's id; the beginning of the stream where it is none."""
        parts = entry_id.split("-")
        is_id = len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 20 for part in parts)
        return cls(int(parts[0]), int(parts[1])) if is_id else cls(0, 0)


class Received(NamedTuple):
    """The latest report of a process, None if Redis has lost it, and how long ago it came, in seconds."""

    id: str
    report: bytes | None
    silence: float


class Register(NamedTuple):
    """What stands in Redis about the processes, and about what was published when that was read."""

    end: str
    """The end of the stream of changes, read first."""
    received: list[Received]
    """Of every process that reported lately."""
    is_whole: bool
    """Whether no live process can be missing of those that may report."""
    not_reporting: int | None
    """How many processes follow and do not report; None if connections may not be listed."""
    limit: str
    """The end of the stream, read last: no process can be beyond."""
    database: str
    epoch: str
    position: int


class Published(NamedTuple):
    """What the database knows of what is published."""

    database: str
    epoch: str | None
    position: int
    positions: dict[int, int]
    """Those of the revisions asked about that are published."""


async def published(session: AsyncSession, revisions: Collection[int]) -> Published:
    """What is published, and which of these revisions."""
    database = await publisher.identity(session)
    epoch = await session.scalar(select(Publication.epoch))
    position = await session.scalar(select(func.max(Change.position))) or 0
    query = select(Change.revision, Change.position).where(
        Change.revision.in_(revisions), Change.published_at.is_not(None)
    )
    rows = (await session.execute(query)).all() if revisions else ()
    return Published(database, epoch, position, {revision: position or 0 for revision, position in rows})


async def digest(session: AsyncSession, position: int) -> str | None:
    """The digest of a process that holds exactly what was published up to `position`; None if there is more by now."""
    digest: str | None = (await session.execute(_DIGEST, {"position": position})).scalar_one()
    return digest


async def read_register(redis: Redis, keys: Keys) -> Register:
    """What processes reported. One that has been silent for longer than a report lives is left out: it has ended.

    Raises RedisError. What is not of its form in Redis counts as missing.
    """
    end = (await last_id(redis, keys)).decode()
    connections, now, found = await _run(
        redis,
        # Before the register: who connects between the two may have reported already.
        ("CLIENT", "LIST", "TYPE", "normal"),
        ("TIME",),
        ("ZREVRANGE", keys.processes, 0, MAX_PROCESSES + 1, "WITHSCORES"),
    )
    ids = found or []
    scores = {name: float(score) for name, score in zip(ids[::2], ids[1::2], strict=True)}
    is_register_there = scores.pop(REGISTER_FIELD, None) is not None
    oldest = _seconds(now) - REPORT_TTL_SECONDS
    live = {name: score for name, score in scores.items() if score >= oldest - 1}
    commands = [(verb, keys.report("").encode() + name) for name in live for verb in ("GET", "PTTL")]
    *reports, now, state, epoch = await _run(
        redis,
        *commands,
        ("TIME",),
        ("HMGET", keys.identity, DATABASE_FIELD, b"position", b"seen", b"register_since"),
        ("GET", keys.epoch),
    )
    received = [
        _received(name, report, left, _seconds(now) - score)
        for (name, score), report, left in zip(live.items(), reports[::2], reports[1::2], strict=True)
    ]
    limit = (await last_id(redis, keys)).decode()
    database, position, seen, since = state or [None] * 4
    is_whole = (
        is_register_there
        and len(scores) <= MAX_PROCESSES
        and _seconds(now) - _number(seen) <= AWAY_SECONDS
        and since is not None
        and _seconds(now) - _number(since) >= REPORT_TTL_SECONDS
    )
    following = None if connections is None else _following(connections, redis, keys)
    not_reporting = None if following is None else len(following - live.keys())
    return Register(
        end, received, is_whole, not_reporting, limit, _text(database), _text(epoch), int(_number(position))
    )


def _following(connections: bytes, redis: Redis, keys: Keys) -> set[bytes]:
    """The ids of the processes whose feeds are connected, and were heard of lately."""
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    prefix = re.escape(keys.report("").encode())
    feeds = re.finditer(rb" name=%s(\S+) .*? idle=(\d+) .*? db=(\d+) " % prefix, connections)
    return {
        name
        for name, idle, db in (feed.groups() for feed in feeds)
        if int(idle) < REPORT_TTL_SECONDS and int(db) == database
    }


async def ask_to_resync(redis: Redis, keys: Keys, process: str) -> None:
    """Make a process take a new snapshot when it next reports."""
    await redis.set(keys.resync(process), 1, ex=REPORT_TTL_SECONDS)


async def _run(redis: Redis, *commands: tuple[Any, ...]) -> list[Any]:
    """The answers; None for a key of another type."""
    pipeline = redis.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def _received(name: bytes, report: Any, left: Any, silence: float) -> Received:
    if report is not None and isinstance(left, int) and left >= 0:
        # To the millisecond, where the score is in whole seconds.
        silence = REPORT_TTL_SECONDS - left / 1000
    return Received(name.decode("utf-8", "replace"), report, max(0.0, silence))


def _seconds(time: Any) -> float:
    seconds, microseconds = time
    return int(seconds) + int(microseconds) / 1e6


def _number(value: bytes | None) -> float:
    """A number in Redis; 0 for anything else."""
    try:
        number = float(value or 0)
    except ValueError:
        return 0.0
    return number if 0 <= number < 2**53 else 0.0


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
