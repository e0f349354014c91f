from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from policy_service import migrate
from policy_service.auth.callers import Caller, Role
from policy_service.database import create_engine, create_sessions
from policy_service.keys import service as keys
from policy_service.keys.schemas import NewKey
from policy_service.settings import Settings
from tests import servers
from tests.faults.table import RecoveryTable
from tests.support import Api, Process, running


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RecoveryTable())


@pytest.fixture(scope="session")
def session_redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


@pytest.fixture
def redis_url(session_redis_url: str) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(session_redis_url) as client:
        client.flushdb()
    return session_redis_url


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """Makes migrated databases; gives their URLs."""
    with servers.postgres(is_durable=False) as url, Databases(url) as databases:
        yield databases.create


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A migrated database of the test's own."""
    return new_database()


def service_environment(database_url: str, redis_url: str) -> dict[str, str]:
    """Settings of a service that leaves what has expired where it is: many tests look at such entries."""
    return {
        "CORSPOLICY_DATABASE_URL": database_url,
        "CORSPOLICY_REDIS_URL": redis_url,
        "CORSPOLICY_EXPIRE_EVERY_SECONDS": "86400",
    }


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    """The service in a process of its own, with a database and a Redis of the module's own."""
    with servers.redis() as redis_url:
        database_url = new_database()
        with running("policy_service.app:create_app", service_environment(database_url, redis_url)) as process:
            yield process


@pytest.fixture(scope="module")
def api(service: Process) -> Iterator[Api]:
    """The service's API with an admin key."""
    with admin_api(service) as api:
        yield api


@contextmanager
def admin_api(service: Process) -> Iterator[Api]:
    """The API of a service with a new admin key."""
    api = Api(service.url, admin_key(service.environment["CORSPOLICY_DATABASE_URL"]))
    with api.http:
        yield api


def admin_key(database_url: str) -> str:
    """A new admin key in a database."""

    async def make() -> str:
        settings = Settings(database_url=database_url, redis_url="redis://unused")
        engine = create_engine(settings.database_url)
        try:
            new = NewKey(role=Role.ADMIN, description="made by a test")
            caller = Caller("a test")
            return (await keys.create(create_sessions(engine), settings.key_pepper, new, caller)).key
        finally:
            await engine.dispose()

    return asyncio.run(make())


class Databases:
    """Makes migrated databases in a PostgreSQL, by copying a template, and drops them at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._names = [f"corspolicy_template_{secrets.token_hex(4)}"]

    def __enter__(self) -> Databases:
        (template,) = self._names
        _execute(self._url, f"CREATE DATABASE {template}")
        migrate.upgrade(_driver_url(self._url, template))
        return self

    def __exit__(self, *_: object) -> None:
        _execute(self._url, *(f"DROP DATABASE {name} WITH (FORCE)" for name in reversed(self._names)))

    def create(self) -> str:
        name = f"corspolicy_{secrets.token_hex(6)}"
        _execute(self._url, f"CREATE DATABASE {name} TEMPLATE {self._names[0]}")
        self._names.append(name)
        return make_url(self._url).set(database=name, drivername="postgresql").render_as_string(hide_password=False)


def _driver_url(url: str, database: str) -> str:
    return make_url(url).set(database=database, drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def _execute(url: str, *statements: str) -> None:
    async def run() -> None:
        engine = create_async_engine(
            _driver_url(url, make_url(url).database or "postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(run())
