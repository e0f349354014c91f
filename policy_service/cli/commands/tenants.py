"""`corspolicy tenants`"""

from __future__ import annotations

import click

from policy_service.cli.shared.api import Api, WriteOptions
from policy_service.cli.shared.arguments import confirm_option, reason_option, tenant_argument, yes_option
from policy_service.cli.shared.output import ask, echo, echo_json, echo_lines, output_option, show, table


@click.group()
def tenants() -> None:
    """Tenants: list, show, create, delete."""


@tenants.command("list")
@output_option
def list_tenants(output: str) -> None:
    """List all tenants."""
    with Api.from_environment() as api:
        items = list(api.items("/v1/tenants"))
    columns = ("tenant", "name", "services", "revision", "created at")
    show(output, items, columns, lambda item: [item[column.replace(" ", "_")] for column in columns])


@tenants.command("show")
@tenant_argument
@output_option
def show_tenant(tenant: str, output: str) -> None:
    """Show one tenant."""
    with Api.from_environment() as api:
        item = api.get(f"/v1/tenants/{tenant}", include="policies")
    if output == "json":
        echo_json(item)
        return
    echo(f"{item['tenant']}  {item['name']}".rstrip())
    echo(f"revision {item['revision']}, created at {item['created_at']}")
    echo()
    rows = [(service, len(policy["allow_origins"])) for service, policy in sorted(item["policies"].items())]
    echo_lines(table(("service", "origins"), rows))


@tenants.command("create")
@click.argument("tenant")
@click.option("--name", default="", help="Its display name.")
@reason_option
def create_tenant(tenant: str, name: str, reason: str | None) -> None:
    """Create a tenant. Its default policy allows no origin until you add one."""
    with Api.from_environment() as api:
        created = api.call("POST", "/v1/tenants", {"tenant": tenant, "name": name}, options=WriteOptions(reason))
    echo(f"{created['tenant']} created, revision {created['revision']}.")


@tenants.command("delete")
@tenant_argument
@yes_option
@reason_option
@confirm_option
def delete_tenant(tenant: str, yes: bool, reason: str | None, confirm: bool) -> None:
    """Delete a tenant and all its policies."""
    with Api.from_environment() as api:
        item = api.get(f"/v1/tenants/{tenant}")
        if not yes:
            services = ", ".join(item["services"]) or "none"
            ask(f"Delete {tenant} and its policies ({services})?")
        api.call("DELETE", f"/v1/tenants/{tenant}", revision=item["revision"], options=WriteOptions(reason, confirm))
    echo(f"{tenant} deleted.")
