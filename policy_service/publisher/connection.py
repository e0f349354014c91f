"""The leader's connection to PostgreSQL: one session, which holds the lock that makes it the leader."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from policy_service.database import COMMAND_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, JSON, UNNAMED_STATEMENTS

LEADER_LOCK = 0x636F7273  # "cors"
FROZEN_SECONDS = 10
"""A leader queries PostgreSQL every second. One that is silent for so long is frozen: a standby takes over."""
PROBES = 3

# PostgreSQL must notice that a leader's machine is gone, to give its lock to another.
_KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_HOLDS_LOCK = """
    locktype = 'advisory' AND granted AND classid = 0 AND objid = :lock AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_IS_LEADER = text(f"SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND {_HOLDS_LOCK})")  # noqa: S608
# What runs is never ended sooner than its client gives up on it.
_END_FROZEN = text(
    "SELECT pid, extract(epoch FROM clock_timestamp() - state_change), pg_terminate_backend(pid) "  # noqa: S608
    f"FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {_HOLDS_LOCK} AND clock_timestamp() - state_change > "
    "make_interval(secs => CASE WHEN state = 'idle' THEN CAST(:idle AS float) ELSE :busy END)"
)

logger = logging.getLogger(__name__)


class TransactionPooling(Exception):
    """PostgreSQL is reached through a pooler that gives each transaction another session."""

    def __init__(self) -> None:
        super().__init__(
            "The database is reached through PgBouncer, or another pooler, in transaction mode, where no lock can be "
            "held. Set CORSPOLICY_PUBLISHER_DATABASE_URL to the URL of PostgreSQL itself, or of a pool in session mode."
        )


class LockLost(Exception):
    """This session does not hold the leader's lock any more."""

    def __init__(self) -> None:
        super().__init__("this session no longer holds the leader's lock")


def create_leader_engine(url: str) -> AsyncEngine:
    """An engine whose every connection is new, and every statement its own transaction."""
    return create_async_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        **JSON,
        # No settings but this one: poolers accept no others at the start of a connection.
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": COMMAND_TIMEOUT_SECONDS,
            "server_settings": {"application_name": "corspolicy publisher"},
            # Each is planned for the tables as they are: a plan that was kept from when a table was empty would read
            # all of it for every row. And none is left behind in the session of a pooler.
            **UNNAMED_STATEMENTS,
        },
    )


async def prepare_session(engine: AsyncEngine, connection: AsyncConnection) -> None:
    """Make a new connection ready to lead. Raises TransactionPooling if no session can be kept on it."""
    if await _is_pooled_by_transaction(engine, connection):
        raise TransactionPooling
    for name, value in _KEEPALIVE.items():
        await connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})


async def try_lock(connection: AsyncConnection) -> bool:
    """Take the leader's lock for this session, if it is free."""
    return bool(await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LEADER_LOCK}))


async def require_lock(connection: AsyncConnection) -> None:
    """Raises LockLost if this session does not hold the leader's lock."""
    if not await connection.scalar(_IS_LEADER, {"lock": LEADER_LOCK}):
        raise LockLost


async def end_frozen_leader(connection: AsyncConnection) -> None:
    """End the session of a leader that has been silent for too long, so that its lock is free."""
    limits = {"lock": LEADER_LOCK, "idle": FROZEN_SECONDS, "busy": COMMAND_TIMEOUT_SECONDS + FROZEN_SECONDS}
    for pid, seconds, is_ended in await connection.execute(_END_FROZEN, limits):
        logger.warning(
            "the leader was silent for %.0f s: its database session %d was %s",
            seconds,
            pid,
            "ended" if is_ended else "not ended, PostgreSQL does not allow it",
        )


async def _is_pooled_by_transaction(engine: AsyncEngine, connection: AsyncConnection) -> bool:
    """Whether statements of one connection reach several sessions.

    A pooler shows: the session is not the one that was named at the start. Whether it keeps to one session shows when
    a transaction on a second connection keeps the session that the first one had, or might get, busy.
    """
    raw: Any = await connection.get_raw_connection()
    if await _session(connection) == raw.driver_connection.get_server_pid():
        return False
    for _ in range(PROBES):
        before = await _session(connection)
        async with engine.connect() as second:
            await second.execution_options(isolation_level="READ COMMITTED")
            if await _session(second) == before or await _session(connection) != before:
                return True
    return False


async def _session(connection: AsyncConnection) -> int:
    return int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)
