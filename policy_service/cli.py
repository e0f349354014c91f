"""The `corspolicy` command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import click
import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from policy_service import migrate
from policy_service.callers import Caller, Role
from policy_service.database import create_engine, create_sessions
from policy_service.embedded import EmbeddedError
from policy_service.keys import service as keys
from policy_service.keys.schemas import NewKey
from policy_service.problems import Problem
from policy_service.settings import Settings
from policy_service.up import up

STOP_SECONDS = 5


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="corspolicy-service")
def main() -> None:
    """Centrally managed CORS policies. Settings are environment variables with the prefix CORSPOLICY_."""


@main.command("up")
@click.option("--demo", is_flag=True, help="Also run a demo API, and a page on another origin that calls it.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(1, 65532), help="First of four ports.")
@click.option(
    "--data-dir",
    default=Path(".corspolicy"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept.",
)
def up_command(demo: bool, port: int, data_dir: Path) -> None:
    """Run everything on this machine: PostgreSQL, Redis, the service."""
    try:
        up(port, data_dir, demo=demo)
    except (EmbeddedError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except ValidationError as error:
        raise _not_valid(error) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8700, show_default=True, type=click.IntRange(1, 65535))
def serve(host: str, port: int) -> None:
    """Serve the admin API and publish changes, or stand by to."""
    _settings()
    # Whoever waits for a change to be applied, for up to a minute, must not hold up the end for as long.
    uvicorn.run(
        "policy_service.app:create_app", factory=True, host=host, port=port, timeout_graceful_shutdown=STOP_SECONDS
    )


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date."""
    with _database_errors():
        migrate.upgrade(_settings().database_url)


@main.group("keys")
def keys_group() -> None:
    """API keys."""


@keys_group.command("create")
@click.option("--role", default="admin", show_default=True, type=click.Choice([role.value for role in Role]))
@click.option("--tenant", "tenants", multiple=True, help="A tenant that a key of role tenant is for; repeatable.")
@click.option("--write", is_flag=True, help="Let a key of role tenant change its tenants, too.")
@click.option("--expires-at", help="When it ends to be valid, such as 2099-01-31T12:00:00Z.")
@click.option("--description", default="", help="What it is for.")
def create_key(role: str, tenants: tuple[str, ...], write: bool, expires_at: str | None, description: str) -> None:
    """Make a key in the database and print it; it can't be shown again."""
    values = {"role": role, "may_write": write, "expires_at": expires_at, "description": description}
    try:
        new = NewKey.model_validate({**values, "tenants": list(tenants) or None})
        with _database_errors():
            click.echo(asyncio.run(_create_key(_settings(), new)))
    except ValidationError as error:
        raise click.ClickException("\n".join(item["msg"] for item in error.errors())) from error
    except Problem as problem:
        details = [problem.detail, *(item.detail for item in problem.errors)]
        raise click.ClickException("\n".join(details)) from problem


async def _create_key(settings: Settings, new: NewKey) -> str:
    engine = create_engine(settings.database_url)
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
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, CommandError, OSError) as error:
        raise click.ClickException(f"the database can't be used: {error}") from error


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise _not_valid(error) from error


def _not_valid(error: ValidationError) -> click.ClickException:
    lines = [f"  CORSPOLICY_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()]
    return click.ClickException("settings are missing or not valid:\n" + "\n".join(lines))
