"""The connections to PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from itertools import accumulate
from typing import Any, TypeVar

import asyncpg
import orjson
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from corspolicy.sync.connection import connect
from corspolicy.sync.wire import Keys

T = TypeVar("T")

Session = AsyncSession


Place = Callable[[], AbstractAsyncContextManager[None]]
"""What a session waits for before it takes a connection."""


class Sessions:
    """Makes sessions; `begin()` gives one in a transaction. Each has a place of its own until it ends."""

    def __init__(self, bind: AsyncEngine | AsyncConnection, place: Place = nullcontext, **options: Any) -> None:
        self._bind = bind
        self._place = place
        self._make = async_sessionmaker(bind, expire_on_commit=False, **options)

    def within(self, place: Place) -> Sessions:
        """The same, where each session takes such a place first. Raises what `place` raises."""
        return Sessions(self._bind, place)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Session]:
        async with self._place(), self._make() as session:
            yield session

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        """A session whose transaction is committed at the end of the block, unless that raises."""
        async with self._place(), self._make.begin() as session:
            yield session

    @asynccontextmanager
    async def as_one(self) -> AsyncIterator[Sessions]:
        """Sessions whose transactions are parts of a single one, on one connection, and end with it."""
        async with self._place(), self._bind.begin() as connection:
            assert isinstance(connection, AsyncConnection)
            yield Sessions(connection, join_transaction_mode="create_savepoint")


# What PostgreSQL and the way to it may raise, through SQLAlchemy and where its driver is used directly.
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

NOTIFY_CHANNEL = "corspolicy_changes"
"""On which a change that is to be published is told."""
PAGE_BYTES = 4 * 1024 * 1024
"""How many bytes of JSON a page holds, if it has more than one item."""
CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30
POOL_SIZE = 5
"""How many connections a process keeps open."""
MAX_CONNECTIONS = 18
"""How many it has at most, apart from the publisher's."""
JSON: dict[str, Any] = {
    "json_deserializer": orjson.loads,
    "json_serializer": lambda value: orjson.dumps(value).decode(),
}
"""Options of an engine: several times as fast as the standard library, which holds up the loop for large documents."""
UNNAMED_STATEMENTS = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
"""Options of a connection: of asyncpg, and of SQLAlchemy, which keeps prepared statements of its own."""


def first_within(most: int, items: Sequence[T], size: Callable[[T], int]) -> Sequence[T]:
    """The first items that have so many bytes together; at least one, to get ahead."""
    totals = accumulate(map(size, items))
    return items[: max(1, sum(total <= most for total in totals))]


def create_engine(url: str, *, is_pooled: bool = False) -> AsyncEngine:
    """An engine whose every connection attempt and statement has a time-out.

    With `is_pooled` it works through PgBouncer in transaction mode: no statement is prepared in one transaction and
    used in another.
    """
    arguments = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
    if is_pooled:
        arguments |= UNNAMED_STATEMENTS
    return create_async_engine(
        url,
        connect_args=arguments,
        **JSON,
        pool_pre_ping=True,
        pool_size=POOL_SIZE,
        max_overflow=MAX_CONNECTIONS - POOL_SIZE,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
    )


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return Sessions(engine)


def create_redis(url: str, keys: Keys | None = None) -> Redis:
    """A Redis client whose every command has a time-out; of a Cluster, of the node that has `keys`."""
    return connect(url, keys, socket_timeout=CONNECT_TIMEOUT_SECONDS, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS)
