"""The service as it is deployed, beside an equal database that it does not know, for bare peers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import asyncpg

from policy_service.database import NOTIFY_CHANNEL
from tests import servers
from tests.conftest import Databases, admin_key
from tests.support import Api, Process, running

# What one tenant may do is bounded by default; here the bounds are not what is measured.
_NO_LIMITS = {
    "CORSPOLICY_RATE_LIMIT_PER_SECOND": "1000000",
    "CORSPOLICY_RATE_LIMIT_BURST": "1000000",
    "CORSPOLICY_MAX_ENTRIES_PER_POLICY": "100000",
    "CORSPOLICY_MAX_BODY_BYTES": str(64 * 1024 * 1024),
}
ORIGINS = [f"https://app{number}.example.com" for number in range(3)]


class Deployment(NamedTuple):
    """Where everything is."""

    service: Process
    api: Api
    key: str
    redis_url: str
    database_url: str
    bare_database_url: str
    """Of the same server and with the same tables, but no service: its changes are not published."""


@contextmanager
def deployment() -> Iterator[Deployment]:
    """PostgreSQL that syncs every commit to disk, Redis, and the service in a process of its own."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis())
        databases = stack.enter_context(Databases(stack.enter_context(servers.postgres())))
        database_url, bare_database_url = databases.create(), databases.create()
        assert asyncio.run(_is_durable(database_url)), "PostgreSQL does not sync its commits: the figures would flatter"
        environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url, **_NO_LIMITS}
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        key = admin_key(database_url)
        api = Api(service.url, key)
        stack.enter_context(api.http)
        api.http.timeout = 120
        yield Deployment(service, api, key, redis_url, database_url, bare_database_url)


async def _is_durable(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        settings = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        return settings == ["on", "on"]
    finally:
        await connection.close()


async def insert_bare(connection: asyncpg.Connection, tenant: str, document: str) -> None:
    """A tenant to change by `write_bare`."""
    await connection.execute(
        "INSERT INTO tenants (slug, revision, document) VALUES ($1, nextval('revisions'), $2::jsonb)", tenant, document
    )


async def read_bare(connection: asyncpg.Connection, tenant: str) -> None:
    """The query of a read, and nothing else."""
    await connection.fetchrow("SELECT revision, document FROM tenants WHERE slug = $1", tenant)


async def write_bare(connection: asyncpg.Connection, tenant: str, document: str) -> int:
    """The transaction of a write, and nothing else; returns the revision."""
    async with connection.transaction():
        await connection.fetchrow("SELECT revision, document FROM tenants WHERE slug = $1 FOR UPDATE", tenant)
        revision: int = await connection.fetchval("SELECT nextval('revisions')")
        await connection.execute(
            "UPDATE tenants SET revision = $2, document = $3::jsonb WHERE slug = $1", tenant, revision, document
        )
        await connection.execute(
            "INSERT INTO changes (revision, tenant, actor, action, difference, after)"
            " VALUES ($2, $1, 'bench', 'origin.add', '[]'::jsonb, $3::jsonb)",
            *(tenant, revision, document),
        )
        await connection.execute("SELECT pg_notify($1, '')", NOTIFY_CHANNEL)
    return revision
