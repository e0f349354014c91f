"""`corspolicy origins`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from policy_service.cli.shared import propagation
from policy_service.cli.shared.api import Api, Asked, Failure
from policy_service.cli.shared.arguments import FROM_NOW, confirm_option, reason_option, service_option, tenant_argument
from policy_service.cli.shared.output import output_option, show
from policy_service.cli.shared.propagation import wait_option


@click.group()
def origins() -> None:
    """Allowed origins: list, add, remove."""


@origins.command("list")
@tenant_argument
@service_option
@output_option
def list_origins(tenant: str, service: str, output: str) -> None:
    """The origins that a policy admits."""
    with Api.from_environment() as api:
        items = list(api.items(_path(tenant, service)))
    columns = ("pattern", "note", "expires at", "created by", "id")
    show(output, items, columns, lambda item: [item[column.replace(" ", "_")] for column in columns])


@origins.command("add")
@tenant_argument
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@service_option
@click.option("--note", help="Why it is there.")
@click.option("--expires", type=FROM_NOW, help="When it stops to admit: 90m, 12h, 3d, 2w or a time.")
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
    """Admit origins. One that is admitted already is no error, and never admitted for shorter."""
    with Api.from_environment() as api:
        for pattern in patterns:
            body = {"pattern": pattern, "note": note, "expires_at": expires}
            added = api.call("POST", _path(tenant, service), body, asked=Asked(reason, wait=wait))
            until = f" until {added['expires_at']}" if added["expires_at"] else ""
            click.echo(f"{added['pattern']} is admitted by {tenant} ({service}){until}, revision {added['revision']}.")
            for warning in added["warnings"]:
                click.echo(f"note: {warning['detail']}", err=True)
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
    """Take origins back, by their pattern or id."""
    with Api.from_environment() as api:
        path = _path(tenant, service)
        found = {key: item for item in api.items(path) for key in (item["pattern"], item["id"])}
        missing = [name for name in names if name not in found]
        if missing:
            raise Failure(
                f"Nothing was changed: {tenant} ({service}) has no {', '.join(missing)}. "
                f"`corspolicy origins list {tenant} --service {service}` shows what it has."
            )
        for entry in {found[name]["id"]: found[name] for name in names}.values():
            done = api.call("DELETE", f"{path}/{entry['id']}", asked=Asked(reason, confirm, wait))
            click.echo(f"{entry['pattern']} is no longer admitted by {tenant} ({service}).")
            propagation.show(done)


def _path(tenant: str, service: str) -> str:
    return f"/v1/tenants/{tenant}/policies/{service}/origins"
