"""What `corspolicy serve | migrate | up` and the first API key do. Needs the extra [server]."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import ProgrammingError

from policy_service import migrate
from policy_service.auth.callers import Caller
from policy_service.cli.shared.output import ask, echo
from policy_service.database import DATABASE_ERRORS, create_engine, create_redis, create_sessions
from policy_service.errors import Problem, message_of
from policy_service.http.connections import PROTOCOL
from policy_service.http.logs import printable, printable_lines
from policy_service.keys import service as keys
from policy_service.keys.schemas import NewKey
from policy_service.local.embedded import EmbeddedError
from policy_service.local.up import up
from policy_service.publisher import takeover
from policy_service.publisher.signing import InvalidSigningKey, load_signer
from policy_service.settings import Settings


def run_everything(port: int, data_dir: Path, *, demo: bool) -> None:
    """Run PostgreSQL, Redis and the service on this machine. Raises click.ClickException."""
    try:
        up(port, data_dir, demo=demo)
    except (EmbeddedError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except ValidationError as error:
        raise _invalid_settings(error) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def serve(host: str, port: int) -> None:
    """Run the service. Raises click.ClickException where its settings are invalid."""
    try:
        load_signer(_settings())
    except InvalidSigningKey as error:
        raise click.ClickException(f"CORSPOLICY_SIGNING_KEY_FILE: {error}") from error
    uvicorn.run("policy_service.app:create_app", factory=True, host=host, port=port, http=PROTOCOL)


def upgrade_database() -> None:
    """Run the migrations. Raises click.ClickException."""
    with _database_errors():
        migrate.upgrade(_settings().session_database_url)


def take_over_redis(*, yes: bool) -> None:
    """Make Redis this database's, after asking unless `yes`. Raises click.ClickException."""
    settings = _settings()
    with _database_errors():
        owner = asyncio.run(_owner(settings))
        if not yes:
            if not sys.stdin.isatty():
                raise click.ClickException("Not a terminal: pass --yes")
            ask(
                f"In the namespace {settings.namespace}, Redis holds the policies of database {owner or 'nobody'}. "
                "Every service that reads them will apply this database's policies instead. Replace them?"
            )
        identity = asyncio.run(_take_over(settings))
    echo(f"Redis is now this database's ({identity}); its publisher writes everything within seconds.")


async def _owner(settings: Settings) -> str | None:
    async with create_redis(settings.redis_url, settings.keys) as redis:
        return await takeover.owner(redis, settings.keys)


async def _take_over(settings: Settings) -> str:
    engine = create_engine(settings.database_url, is_pooled=settings.is_pooled)
    try:
        async with create_redis(settings.redis_url, settings.keys) as redis:
            return await takeover.take_over(create_sessions(engine), redis, settings.keys)
    finally:
        await engine.dispose()


def create_key(values: Mapping[str, Any]) -> str:
    """Create a key in the database, which takes no other key. Raises click.ClickException."""
    try:
        new = NewKey.model_validate(values)
        with _database_errors():
            return asyncio.run(_create_key(_settings(), new))
    except ValidationError as error:
        raise click.ClickException("\n".join(map(message_of, error.errors()))) from error
    except Problem as problem:
        details = [problem.detail, *(item.detail for item in problem.errors)]
        raise click.ClickException("\n".join(details)) from problem


async def _create_key(settings: Settings, new: NewKey) -> str:
    engine = create_engine(settings.database_url, is_pooled=settings.is_pooled)
    try:
        caller = Caller("corspolicy keys create")
        return (await keys.create(create_sessions(engine), settings.key_pepper, new, caller)).key
    finally:
        await engine.dispose()


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        raise click.ClickException("the database is not up to date: run `corspolicy migrate` first") from error
    except RedisError as error:
        raise click.ClickException(f"Redis can't be used: {error}") from error
    except (*DATABASE_ERRORS, CommandError) as error:
        raise click.ClickException(f"the database can't be used: {printable_lines(str(error))}") from error


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise _invalid_settings(error) from error


def _invalid_settings(error: ValidationError) -> click.ClickException:
    lines = [f"  CORSPOLICY_{str(item['loc'][0]).upper()}: {printable(message_of(item))}" for item in error.errors()]
    return click.ClickException("missing or invalid settings:\n" + "\n".join(lines))
