"""The connections to PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

import asyncpg
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from corspolicy.sync.connection import connect
from corspolicy.sync.wire import Keys

T = TypeVar("T")

Session = AsyncSession
Engine = AsyncEngine


class Sessions(async_sessionmaker[Session]):
    """Makes sessions; `begin()` gives one in a transaction."""


# What PostgreSQL and the way to it may raise, through SQLAlchemy and where its driver is used directly.
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

NOTIFY_CHANNEL = "corspolicy_changes"
"""On which a change that is to be published is told."""
PAGE_BYTES = 4 * 1024 * 1024
"""How many bytes of JSON a page holds, if it has more than one item."""
CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30
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
    return create_async_engine(url, connect_args=arguments, pool_pre_ping=True, pool_timeout=CONNECT_TIMEOUT_SECONDS)


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return Sessions(engine, expire_on_commit=False)


def sessions_within(connection: AsyncConnection) -> Sessions:
    """Sessions whose transactions are parts of the one that is open on a connection, and end with it."""
    return Sessions(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")


def create_redis(url: str, keys: Keys | None = None) -> Redis:
    """A Redis client whose every command has a time-out; of a Cluster, of the node that has `keys`."""
    return connect(url, keys, socket_timeout=CONNECT_TIMEOUT_SECONDS, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS)
