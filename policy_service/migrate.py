"""Brings the database's schema up or down, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Run the migrations up to `revision`."""
    command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Undo the migrations down to `revision`; "base" leaves nothing."""
    command.downgrade(_config(database_url), revision)


def check(database_url: str) -> None:
    """Raises alembic.util.CommandError where the tables and the models differ."""
    command.check(_config(database_url))


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def _folder() -> Path:
    """The migrations: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
