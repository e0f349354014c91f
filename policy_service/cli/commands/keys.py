"""`corspolicy keys`"""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from policy_service.cli.shared.api import Api
from policy_service.cli.shared.arguments import FROM_NOW, Period, tenant_option
from policy_service.cli.shared.extras import extra
from policy_service.cli.shared.output import echo, output_option, show


@click.group()
def keys() -> None:
    """API keys: create, list, rotate, revoke."""


@keys.command("create")
@click.option("--role", default="admin", show_default=True, type=click.Choice(["admin", "tenant", "reader"]))
@tenant_option("tenants", multiple=True, help="A tenant that a key of role tenant is for; repeatable.")
@click.option("--write", is_flag=True, help="Let a key of role tenant change its tenants, too.")
@click.option("--expires", "--expires-at", type=FROM_NOW, help="When it expires: 12h, 3d, 2w or a time.")
@click.option("--description", default="", help="What it is for.")
def create_key(role: str, tenants: Sequence[str], write: bool, expires: str | None, description: str) -> None:
    """Create a key and print it; it can't be shown again.

    With CORSPOLICY_API_KEY set, it is created through the API. Without, as for the first key of all, it is created in
    the database itself, with the service's settings: CORSPOLICY_DATABASE_URL, CORSPOLICY_REDIS_URL.
    """
    values = {
        "role": role, "tenants": list(tenants) or None, "may_write": write, "expires_at": expires,
        "description": description,
    }  # fmt: skip
    if os.environ.get("CORSPOLICY_API_KEY"):
        with Api.from_environment() as api:
            echo(api.call("POST", "/v1/keys", values)["key"])
        return
    with extra("server", "without CORSPOLICY_API_KEY, `corspolicy keys create` writes to the database itself: that"):
        from policy_service.cli import server
    echo(server.create_key(values))


@keys.command("list")
@output_option
def list_keys(output: str) -> None:
    """List all keys, including expired and revoked ones, newest first."""
    with Api.from_environment() as api:
        items = list(api.items("/v1/keys"))
    columns = ("id", "role", "tenants", "state", "expires at", "last used at", "created by", "description")
    show(output, items, columns, lambda item: [item[column.replace(" ", "_")] for column in columns])


@keys.command("rotate")
@click.argument("key", metavar="ID")
@click.option("--grace", type=Period(), default="1d", show_default=True, help="How long the old key stays valid.")
@click.option("--expires", type=FROM_NOW, help="When the new key expires; by default, after the old one's lifetime.")
def rotate_key(key: str, grace: int, expires: str | None) -> None:
    """Create a key with the same rights and print it; the old one expires after the grace period."""
    with Api.from_environment() as api:
        body = {"grace_seconds": grace, "expires_at": expires}
        echo(api.call("POST", f"/v1/keys/{key}/rotate", body)["key"])


@keys.command("revoke")
@click.argument("key", metavar="ID")
def revoke_key(key: str) -> None:
    """Revoke a key immediately and permanently."""
    with Api.from_environment() as api:
        api.call("DELETE", f"/v1/keys/{key}")
    echo(f"{key} revoked.")
