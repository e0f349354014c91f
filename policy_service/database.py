"""The connections to PostgreSQL and Redis."""

from __future__ import annotations

import asyncpg
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from corspolicy.sync.connection import connect

Session = AsyncSession
Engine = AsyncEngine


class Sessions(async_sessionmaker[Session]):
    """Makes sessions; `begin()` gives one in a transaction."""


# What PostgreSQL and the way to it may raise, through SQLAlchemy and where its driver is used directly.
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

NOTIFY_CHANNEL = "corspolicy_changes"
"""On which a change that is to be published is told."""
CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30


def create_engine(url: str) -> AsyncEngine:
    """An engine whose every connection attempt and statement has a time-out."""
    arguments = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
    return create_async_engine(url, connect_args=arguments, pool_pre_ping=True, pool_timeout=CONNECT_TIMEOUT_SECONDS)


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return Sessions(engine, expire_on_commit=False)


def sessions_within(connection: AsyncConnection) -> Sessions:
    """Sessions whose transactions are parts of the one that is open on a connection, and end with it."""
    return Sessions(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")


def create_redis(url: str) -> Redis:
    """A Redis client whose every command has a time-out."""
    return connect(url, socket_timeout=CONNECT_TIMEOUT_SECONDS, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS)
