"""`corspolicy policies`"""

from __future__ import annotations

from typing import IO

import click

from policy_service.cli.gitops import strict_yaml
from policy_service.cli.gitops.files import policy_text
from policy_service.cli.shared.api import Api, Asked, Failure, Refused, error_text
from policy_service.cli.shared.arguments import confirm_option, reason_option, tenant_argument, yes_option
from policy_service.cli.shared.output import echo_json, output_option, show

_service_argument = click.argument("service", default="default")


@click.group()
def policies() -> None:
    """Policies of a tenant: list, show, put, delete."""


@policies.command("list")
@tenant_argument
@output_option
def list_policies(tenant: str, output: str) -> None:
    """All policies of a tenant."""
    with Api.from_environment() as api:
        items = api.get(f"/v1/tenants/{tenant}/policies")["items"]
    columns = ("service", "origins", "credentials", "methods", "headers", "max age")
    show(
        output,
        items,
        columns,
        lambda item: [
            item["service"], len(item["allow_origins"]), item["allow_credentials"], item["allow_methods"],
            item["allow_headers"], item["max_age"],
        ],
    )  # fmt: skip


@policies.command("show")
@tenant_argument
@_service_argument
@output_option
def show_policy(tenant: str, service: str, output: str) -> None:
    """One policy, in the form in which `put` takes it."""
    with Api.from_environment() as api:
        found = api.get(f"/v1/tenants/{tenant}/policies/{service}")
    if output == "json":
        echo_json(found)
        return
    click.echo(policy_text(found), nl=False)


@policies.command("put")
@tenant_argument
@_service_argument
@click.option("-f", "--file", "file", required=True, type=click.File("rb"), help="YAML or JSON; - for standard input.")
@reason_option
@confirm_option
def put_policy(tenant: str, service: str, file: IO[bytes], reason: str | None, confirm: bool) -> None:
    """Write a policy whole, whatever is there now."""
    read = strict_yaml.read(file.read())
    if read.defects:
        raise _invalid(file.name, [error_text({"detail": it.message}, f"{file.name}:{it.line}") for it in read.defects])
    with Api.from_environment() as api:
        try:
            path, asked = f"/v1/tenants/{tenant}/policies/{service}", Asked(reason, confirm)
            found = api.call("PUT", path, read.values, revision="*", asked=asked)
        except Refused as error:
            if error.code != "invalid-policy":
                raise
            places = [f"{file.name}:{read.line(item['pointer'])}" for item in error.errors]
            raise _invalid(file.name, list(map(error_text, error.errors, places))) from error
    for warning in found["warnings"]:
        line = read.line(warning["pointer"])
        click.echo(f"{file.name}:{line}: note: {warning['detail']}", err=True)
    click.echo(f"The policy {service} of {tenant} is written, revision {found['revision']}.")


@policies.command("delete")
@tenant_argument
@click.argument("service")
@yes_option
@reason_option
@confirm_option
def delete_policy(tenant: str, service: str, yes: bool, reason: str | None, confirm: bool) -> None:
    """Delete a policy. Without one of its own, a service has the default one."""
    path = f"/v1/tenants/{tenant}/policies/{service}"
    with Api.from_environment() as api:
        found = api.get(path)
        if not yes:
            count = len(found["allow_origins"])
            click.confirm(f"Delete the policy {service} of {tenant} with its {count} origins?", abort=True)
        api.call("DELETE", path, revision=found["revision"], asked=Asked(reason, confirm))
    click.echo(f"The policy {service} of {tenant} is deleted.")


def _invalid(name: str, lines: list[str]) -> Failure:
    return Failure("\n".join((f"Nothing was changed: {name} is no policy.", *lines)))
