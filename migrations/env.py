"""Runs the migrations over the service's own driver: for `corspolicy migrate`, and for `alembic` in a checkout."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from policy_service.models import Base
from policy_service.settings import driver_url

MIGRATION_LOCK = 0x6D696772  # "migr"


def _database_url() -> str:
    given: str | None = context.config.attributes.get("database_url")
    if given is not None:
        return given
    try:
        return driver_url(os.environ["CORSPOLICY_DATABASE_URL"])
    except KeyError as error:
        raise CommandError("Set CORSPOLICY_DATABASE_URL, such as postgresql://user@host/corspolicy.") from error
    except ValueError as error:
        raise CommandError(f"CORSPOLICY_DATABASE_URL: {error}") from error


def _number(_: MigrationContext, __: Iterable[str | None], scripts: list[MigrationScript]) -> None:
    """Number a new migration after the last one, instead of by a random identifier."""
    last = context.script.get_current_head()
    scripts[0].rev_id = f"{int(last or 0) + 1:04}"


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, process_revision_directives=_number)
    with context.begin_transaction():
        # Several replicas may start with a migration; one at a time.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def _connect_and_run() -> None:
    engine = create_async_engine(_database_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_connect_and_run())
