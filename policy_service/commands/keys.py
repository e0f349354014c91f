"""`corspolicy keys`"""

from __future__ import annotations

import os

import click

from policy_service.commands.api import Api


@click.group()
def keys() -> None:
    """API keys."""


@keys.command("create")
@click.option("--description", default="made on the command line", show_default=True)
def create_key(description: str) -> None:
    """Make an API key and print it; it can't be shown again.

    Through the API where CORSPOLICY_API_KEY is set. Without, as for the first key of all, an admin key in the database
    itself, with the service's settings: CORSPOLICY_DATABASE_URL and CORSPOLICY_REDIS_URL.
    """
    if os.environ.get("CORSPOLICY_API_KEY"):
        with Api.from_environment() as api:
            click.echo(api.call("POST", "/v1/keys", {"description": description})["key"])
        return
    # The one command that needs no API: there is no key yet.
    from policy_service import servers

    click.echo(servers.create_key(description))
