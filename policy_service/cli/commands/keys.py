"""`corspolicy keys`"""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from policy_service.cli.shared.api import Api
from policy_service.cli.shared.arguments import FROM_NOW, Period, tenant_option
from policy_service.cli.shared.output import output_option, show


@click.group()
def keys() -> None:
    """API keys: create, list, rotate, revoke."""


@keys.command("create")
@click.option("--role", default="admin", show_default=True, type=click.Choice(["admin", "tenant", "reader"]))
@tenant_option("tenants", multiple=True, help="A tenant that a key of role tenant is for; repeatable.")
@click.option("--write", is_flag=True, help="Let a key of role tenant change its tenants, too.")
@click.option("--expires", "--expires-at", type=FROM_NOW, help="When it ends to be valid: 12h, 3d, 2w or a time.")
@click.option("--description", default="", help="What it is for.")
def create_key(role: str, tenants: Sequence[str], write: bool, expires: str | None, description: str) -> None:
    """Make a key and print it; it can't be shown again.

    Through the API where CORSPOLICY_API_KEY is set. Else, as for the first key of all, in the database itself, with the
    service's settings: CORSPOLICY_DATABASE_URL, CORSPOLICY_REDIS_URL.
    """
    values = {
        "role": role, "tenants": list(tenants) or None, "may_write": write, "expires_at": expires,
        "description": description,
    }  # fmt: skip
    if os.environ.get("CORSPOLICY_API_KEY"):
        with Api.from_environment() as api:
            click.echo(api.call("POST", "/v1/keys", values)["key"])
    else:
        # Nothing else here needs more than the API; the first key can't be had from it.
        from policy_service.cli.commands import servers

        click.echo(servers.create_key(values))


@keys.command("list")
@output_option
def list_keys(output: str) -> None:
    """All keys, also those that ended, the newest first."""
    with Api.from_environment() as api:
        items = list(api.items("/v1/keys"))
    columns = ("id", "role", "tenants", "state", "expires at", "last used at", "created by", "description")
    show(output, items, columns, lambda item: [item[column.replace(" ", "_")] for column in columns])


@keys.command("rotate")
@click.argument("key", metavar="ID")
@click.option("--grace", type=Period(), default="1d", show_default=True, help="How long the old one stays valid.")
@click.option(
    "--expires", type=FROM_NOW, help="When the new one ends; else it lives as long as the old one was made for."
)
def rotate_key(key: str, grace: int, expires: str | None) -> None:
    """Make a key with the same rights, and print it; the old one ends after the grace period."""
    with Api.from_environment() as api:
        body = {"grace_seconds": grace, "expires_at": expires}
        click.echo(api.call("POST", f"/v1/keys/{key}/rotate", body)["key"])


@keys.command("revoke")
@click.argument("key", metavar="ID")
def revoke_key(key: str) -> None:
    """End a key at once and for good."""
    with Api.from_environment() as api:
        api.call("DELETE", f"/v1/keys/{key}")
    click.echo(f"{key} is revoked.")
