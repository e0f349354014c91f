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
from policy_service.database import create_engine, create_sessions
from policy_service.embedded import EmbeddedError
from policy_service.keys import service as keys
from policy_service.settings import Settings
from policy_service.up import up


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
    uvicorn.run("policy_service.app:create_app", factory=True, host=host, port=port)


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date."""
    with _database_errors():
        migrate.upgrade(_settings().database_url)


@main.group("keys")
def keys_group() -> None:
    """API keys."""


@keys_group.command("create")
@click.option("--description", default="made on the command line", show_default=True)
def create_key(description: str) -> None:
    """Make an admin key and print it; it can't be shown again."""
    with _database_errors():
        click.echo(asyncio.run(_create_key(_settings(), description)))


async def _create_key(settings: Settings, description: str) -> str:
    engine = create_engine(settings.database_url)
    try:
        return await keys.create(create_sessions(engine), description)
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
