"""PostgreSQL and Redis for the tests, the first that works: given by URL, in containers, or embedded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from redis import Redis

from policy_service.local import embedded
from tests import redis_users
from tests.support import free_port

EMBEDDED_REDIS_VERSION = 6


@contextlib.contextmanager
def postgres(*, is_durable: bool = True) -> Iterator[str]:
    """A PostgreSQL in which databases can be created; gives its URL.

    One that is not durable, where it is embedded, outlives the end of its process but not of the machine: it waits for
    no disk, least of all when one of many databases is dropped.
    """
    with contextlib.ExitStack() as stack:
        if url := os.environ.get("TEST_DATABASE_URL"):
            yield url
        elif _has_docker():
            from testcontainers.postgres import PostgresContainer

            yield stack.enter_context(PostgresContainer("postgres:17-alpine")).get_connection_url(driver=None)
        else:
            url = stack.enter_context(embedded.postgres(_folder(stack)))
            if not is_durable:
                asyncio.run(_stop_waiting_for_disks(url))
            yield url


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis that the tests may empty; gives its URL."""
    with contextlib.ExitStack() as stack:
        if url := os.environ.get("TEST_REDIS_URL"):
            # A database of its own for each of the processes that run tests at the same time.
            number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
            url = urlsplit(url)._replace(path=f"/{number}").geturl()
            with Redis.from_url(url) as client:
                # It would stay the Redis of an earlier test's database.
                client.flushdb()
            redis_users.create(url)
            yield url
        elif _has_docker():
            from testcontainers.redis import RedisContainer

            container = stack.enter_context(RedisContainer("redis:7-alpine"))
            url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
            redis_users.create(url)
            yield url
        else:
            yield stack.enter_context(redis_at(_folder(stack), free_port()))


@contextlib.contextmanager
def redis_at(data: Path, port: int, family: embedded.Family | None = None) -> Iterator[str]:
    """A Redis on that loopback port, with all its commands: for tests that break the way to it, or reconfigure it."""
    data.mkdir(parents=True, exist_ok=True)
    options = ["--bind", "127.0.0.1", "--port", str(port)]
    for keyword, *line in redis_users.configuration(EMBEDDED_REDIS_VERSION):
        options += [f"--{keyword}", *line]
    with embedded.redis_server(data, options, ("127.0.0.1", port), family):
        yield f"redis://127.0.0.1:{port}/0"


async def _stop_waiting_for_disks(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


def _folder(stack: contextlib.ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corspolicy-", ignore_cleanup_errors=True)))


def _has_docker() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
