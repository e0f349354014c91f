"""`corspolicy origins`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from policy_service.cli.commands.origins_everywhere import find_origin, remove_everywhere
from policy_service.cli.shared import propagation
from policy_service.cli.shared.api import Api, WriteOptions, has_expired
from policy_service.cli.shared.arguments import FROM_NOW, confirm_option, reason_option, service_option, tenant_argument
from policy_service.cli.shared.output import echo, output_option, show
from policy_service.cli.shared.propagation import wait_option


@click.group()
def origins() -> None:
    """Allowed origins: list, add, remove; in all tenants: find, remove."""


origins.add_command(find_origin)
origins.add_command(remove_everywhere)


@origins.command("list")
@tenant_argument
@service_option
@output_option
def list_origins(tenant: str, service: str, output: str) -> None:
    """List the origins that a policy allows, and those that have expired and are not yet removed."""
    with Api.from_environment() as api:
        items = list(api.items(_path(tenant, service)))
    columns = ("pattern", "note", "expires at", "created by", "id")
    show(output, items, columns, _cells)


def _cells(entry: Mapping[str, Any]) -> Sequence[object]:
    expires_at = f"{entry['expires_at']} (expired)" if has_expired(entry) else entry["expires_at"]
    return entry["pattern"], entry["note"], expires_at, entry["created_by"], entry["id"]


@origins.command("add")
@tenant_argument
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@service_option
@click.option("--note", help="Why it is allowed.")
@click.option("--expires", type=FROM_NOW, help="When it expires: 90m, 12h, 3d, 2w or a time.")
@reason_option
@wait_option
def add_origins(
    tenant: str,
    patterns: Sequence[str],
    service: str,
    note: str | None,
    expires: str | None,
    reason: str | None,
    wait: int | None,
) -> None:
    """Allow origins. Adding one that is allowed already is no error, and never makes it expire earlier."""
    with Api.from_environment() as api:
        for pattern in patterns:
            body = {"pattern": pattern, "note": note, "expires_at": expires}
            added = api.call("POST", _path(tenant, service), body, options=WriteOptions(reason, wait=wait))
            until = f" until {added['expires_at']}" if added["expires_at"] else ""
            echo(f"{added['pattern']} allowed by {tenant} ({service}){until}, revision {added['revision']}.")
            for warning in added["warnings"]:
                echo(f"note: {warning['detail']}", err=True)
            propagation.show(added)


@origins.command("remove")
@tenant_argument
@click.argument("names", nargs=-1, required=True, metavar="PATTERN|ID...")
@service_option
@reason_option
@confirm_option
@wait_option
def remove_origins(
    tenant: str, names: Sequence[str], service: str, reason: str | None, confirm: bool, wait: int | None
) -> None:
    """Remove origins, by pattern or id."""
    with Api.from_environment() as api:
        path = _path(tenant, service)
        entries = {key: item for item in api.items(path) for key in (item["pattern"], item["id"])}
        missing = [name for name in names if name not in entries]
        if missing:
            raise click.ClickException(
                f"Nothing was changed: {tenant} ({service}) has no origin {', '.join(missing)}. "
                f"`corspolicy origins list {tenant} --service {service}` lists its origins."
            )
        for entry in {entries[name]["id"]: entries[name] for name in names}.values():
            removed = api.call("DELETE", f"{path}/{entry['id']}", options=WriteOptions(reason, confirm, wait))
            echo(f"{entry['pattern']} removed from {tenant} ({service}).")
            propagation.show(removed)


def _path(tenant: str, service: str) -> str:
    return f"/v1/tenants/{tenant}/policies/{service}/origins"
