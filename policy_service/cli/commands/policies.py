"""`corspolicy policies`"""

from __future__ import annotations

from typing import IO

import click

from policy_service.cli.gitops import strict_yaml
from policy_service.cli.gitops.files import policy_text
from policy_service.cli.shared.api import Api, Rejected, WriteOptions, error_text
from policy_service.cli.shared.arguments import confirm_option, reason_option, tenant_argument, yes_option
from policy_service.cli.shared.output import ask, counted, echo, echo_json, echo_lines, output_option, show

_service_argument = click.argument("service", default="default")


@click.group()
def policies() -> None:
    """A tenant's policies: list, show, put, delete."""


@policies.command("list")
@tenant_argument
@output_option
def list_policies(tenant: str, output: str) -> None:
    """List all policies of a tenant."""
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
    """Show one policy, in the form that `put` reads."""
    with Api.from_environment() as api:
        policy = api.get(f"/v1/tenants/{tenant}/policies/{service}")
    if output == "json":
        echo_json(policy)
        return
    echo_lines(policy_text(policy), nl=False)


@policies.command("put")
@tenant_argument
@_service_argument
@click.option("-f", "--file", "file", required=True, type=click.File("rb"), help="YAML or JSON; - for standard input.")
@reason_option
@confirm_option
def put_policy(tenant: str, service: str, file: IO[bytes], reason: str | None, confirm: bool) -> None:
    """Write a policy, replacing the current one entirely."""
    read = strict_yaml.read(file.read())
    if read.defects:
        raise _invalid(file.name, [error_text({"detail": it.message}, f"{file.name}:{it.line}") for it in read.defects])
    with Api.from_environment() as api:
        try:
            path, options = f"/v1/tenants/{tenant}/policies/{service}", WriteOptions(reason, confirm)
            saved = api.call("PUT", path, read.values, revision="*", options=options)
        except Rejected as error:
            if error.code != "invalid-policy":
                raise
            places = [f"{file.name}:{read.line(item['pointer'])}" for item in error.errors]
            raise _invalid(file.name, list(map(error_text, error.errors, places))) from error
    for warning in saved["warnings"]:
        line = read.line(warning["pointer"])
        echo(f"{file.name}:{line}: note: {warning['detail']}", err=True)
    echo(f"Policy {service} of {tenant} saved, revision {saved['revision']}.")


@policies.command("delete")
@tenant_argument
@click.argument("service")
@yes_option
@reason_option
@confirm_option
def delete_policy(tenant: str, service: str, yes: bool, reason: str | None, confirm: bool) -> None:
    """Delete a policy. The default policy then applies to its service."""
    path = f"/v1/tenants/{tenant}/policies/{service}"
    with Api.from_environment() as api:
        policy = api.get(path)
        if not yes:
            origins = counted(len(policy["allow_origins"]), "origin")
            ask(f"Delete policy {service} of {tenant} with its {origins}?")
        api.call("DELETE", path, revision=policy["revision"], options=WriteOptions(reason, confirm))
    echo(f"Policy {service} of {tenant} deleted.")


def _invalid(name: str, lines: list[str]) -> click.ClickException:
    return click.ClickException("\n".join((f"{name} is not a valid policy; nothing was changed.", *lines)))
