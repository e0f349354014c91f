"""`corspolicy import-app`: from an application's CORSMiddleware to a policy."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING

import click

from corspolicy.core.document import DEFAULT
from policy_service.cli.gitops import files, report
from policy_service.cli.gitops.files import Tenant
from policy_service.cli.gitops.plan import Plan, Step, current_tenant, edits
from policy_service.cli.shared.api import Api, WriteOptions
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option

if TYPE_CHECKING:
    from policy_service.cli.cors_import.starlette_cors import Equivalent


@click.command("import-app")
@click.argument("application", metavar="MODULE:APP")
@click.option("--tenant", required=True, help="The tenant that gets the policy; `platform` for all tenants.")
@click.option("--service", default=DEFAULT, show_default=True, help="The service that the policy is for.")
@click.option("--factory", is_flag=True, help="MODULE:APP is a function that makes the application.")
@click.option("--apply", "is_applied", is_flag=True, help="Write the policy to the service instead of printing it.")
@yes_option
@reason_option
@confirm_option
def import_app(
    application: str,
    tenant: str,
    service: str,
    factory: bool,
    is_applied: bool,
    yes: bool,
    reason: str | None,
    confirm: bool,
) -> None:
    """Print the policy that is equivalent to an application's CORSMiddleware, as a tenant's file.

    This imports the application, as its server would, so its module runs. Whatever a policy can't express is left out
    and reported, with what to do instead; then the exit code is 1, and nothing is written to the service.
    """
    found = _equivalent(application, factory=factory)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    policy = files.stored(found.values)
    if not is_applied:
        click.echo(files.written(tenant, Tenant("", {service: policy})), nl=False)
    if found.refusals:
        raise click.ClickException("\n  ".join(("Left out, because a policy can't express it:", *found.refusals)))
    if is_applied:
        _apply(tenant, service, policy, WriteOptions(reason, confirm), yes=yes)


def _equivalent(application: str, *, factory: bool) -> Equivalent:
    try:
        from policy_service.cli.cors_import.starlette_cors import equivalent, find
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "starlette":
            raise
        raise click.ClickException(
            "Starlette is not installed here: install corspolicy-service beside the application, and run "
            "`corspolicy import-app` there."
        ) from error
    module, _, name = application.partition(":")
    if not module or not name:
        raise click.ClickException(f"{application} is not of the form MODULE:APP, such as main:app.")
    # As a server that is started here would find it.
    sys.path.insert(0, "")
    try:
        # What the module prints is not part of the file.
        with contextlib.redirect_stdout(sys.stderr):
            app = attrgetter(name)(import_module(module))
            app = app() if factory else app
            middlewares = list(find(app))
    except (Exception, SystemExit) as error:
        raise click.ClickException(f"{application} can't be imported: {type(error).__name__}: {error}") from error
    if not middlewares:
        hint = " If it is a function that makes the application, pass --factory." if callable(app) else ""
        raise click.ClickException(f"No CORSMiddleware in {application}.{hint}")
    if len(middlewares) > 1:
        places = ", ".join(found.where for found in middlewares)
        raise click.ClickException(
            f"{len(middlewares)} CORSMiddlewares in {application}: {places}. A service has one policy for all its "
            "paths: remove all but one, and import again."
        )
    return equivalent(middlewares[0].middleware)


def _apply(slug: str, service: str, policy: files.PolicyValues, options: WriteOptions, *, yes: bool) -> None:
    with Api.from_environment() as api:
        current = current_tenant(api, slug)
        wanted = Tenant(current.tenant.name, {**current.tenant.policies, service: policy})
        changes = edits(current.tenant, wanted)
        steps = [Step("change", slug, current.revision, wanted, changes)] if changes else []
        report.confirm_and_apply(api, Plan(steps, 1 - len(steps), []), options, yes=yes)
