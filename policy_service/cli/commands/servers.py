"""`corspolicy up | serve | migrate | takeover`: what runs servers instead of calling the API."""

from __future__ import annotations

from pathlib import Path

import click

from policy_service.cli.shared.arguments import yes_option
from policy_service.cli.shared.extras import extra


@click.command()
@click.option("--demo", is_flag=True, help="Also run a demo API, and a page on another origin that calls it.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(1, 65533), help="First of three ports.")
@click.option(
    "--data-dir",
    default=Path(".corspolicy"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for all data.",
)
def up(demo: bool, port: int, data_dir: Path) -> None:
    """Run everything on this machine: PostgreSQL, Redis, the service."""
    with extra("embedded", "`corspolicy up`"):
        from policy_service.cli import server
    server.run_everything(port, data_dir, demo=demo)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8700, show_default=True, type=click.IntRange(1, 65535))
def serve(host: str, port: int) -> None:
    """Serve the admin API. One replica publishes changes; the others stand by to take over."""
    with extra("server", "`corspolicy serve`"):
        from policy_service.cli import server
    server.serve(host, port)


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    with extra("server", "`corspolicy migrate`"):
        from policy_service.cli import server
    server.upgrade_database()


@click.command()
@yes_option
def takeover(yes: bool) -> None:
    """Publish this database's policies to a Redis that holds another database's.

    For a database that was moved, or restored under another name or server, and for two copies of one database. With
    the settings of the service. The other database's publisher stops publishing there, and says so.
    """
    with extra("server", "`corspolicy takeover`"):
        from policy_service.cli import server
    server.take_over_redis(yes=yes)
