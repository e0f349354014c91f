"""`corspolicy import-app`: from an application's CORSMiddleware to a policy."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from operator import attrgetter

import click

from corspolicy.core.document import DEFAULT
from policy_service.cli.cors_import.findings import Equivalent, Nearest
from policy_service.cli.gitops import files, report
from policy_service.cli.gitops.files import Tenant
from policy_service.cli.gitops.plan import Plan, Step, current_tenant, edits
from policy_service.cli.shared.api import Api, WriteOptions
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option
from policy_service.cli.shared.output import echo, echo_lines

_INSTALL = "Install corspolicy-service beside the application's own dependencies, in the same environment."


@click.command("import-app")
@click.argument("application", metavar="MODULE:APP")
@click.option("--tenant", required=True, help="The tenant of the policy; `platform` for all tenants.")
@click.option("--service", default=DEFAULT, show_default=True, help="The service that the application is.")
@click.option("--factory", is_flag=True, help="MODULE:APP is a function that returns the application.")
@click.option(
    "--nearest",
    type=click.Choice([str(choice) for choice in Nearest]),
    help="Where no policy means exactly the same: take the nearest one that allows less, or more.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Write the policy to the service instead of printing it.")
@yes_option
@reason_option
@confirm_option
def import_app(
    application: str,
    tenant: str,
    service: str,
    factory: bool,
    nearest: str | None,
    is_applied: bool,
    yes: bool,
    reason: str | None,
    confirm: bool,
) -> None:
    """Print the policy that means the same as an application's CORSMiddleware, as a tenant's file.

    The application is imported as its server would import it, so its module runs: corspolicy-service has to be
    installed beside the application's own dependencies.

    The policy never allows more than the application, unless you pass --nearest wider. What it leaves out is listed,
    with what to do about it; the exit code is then 1, and nothing is written to the service. Pass --nearest narrower
    to accept that. Hosts with characters other than letters, digits, `-`, `_` and dots match `*` only, whatever a
    regular expression of the application says.
    """
    found = _found(application, Nearest(nearest) if nearest else None, factory=factory)
    for note in found.notes:
        echo(f"note: {note}", err=True)
    policy = files.stored(found.values)
    if not is_applied:
        echo_lines(files.written(tenant, Tenant("", {service: policy})), nl=False)
    if found.left_out:
        raise click.ClickException(
            "\n  ".join(("No policy means the same as this, which is left out:", *found.left_out))
        )
    if is_applied:
        _apply(tenant, service, policy, WriteOptions(reason, confirm), yes=yes)


def _found(application: str, nearest: Nearest | None, *, factory: bool) -> Equivalent:
    try:
        from policy_service.cli.cors_import.equivalent import equivalent
        from policy_service.cli.cors_import.middlewares import WHOLE, find
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "starlette":
            raise
        raise click.ClickException(f"Starlette is not installed here. {_INSTALL}") from error
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
    except ImportError as error:
        raise click.ClickException(_cannot_import(application, error, _INSTALL)) from error
    except (Exception, SystemExit) as error:
        raise click.ClickException(_cannot_import(application, error)) from error
    if not middlewares:
        hint = " If it is a function that returns the application, pass --factory." if callable(app) else ""
        raise click.ClickException(f"No CORSMiddleware in {application}.{hint}")
    alike = [equivalent(found.middleware, nearest) for found in middlewares]
    if any(each.values != alike[0].values for each in alike):
        places = ", ".join(found.where for found in middlewares)
        raise click.ClickException(
            f"{len(middlewares)} different CORSMiddlewares: {places}. A service has one policy for all its paths: keep "
            "the one that you mean, and import again."
        )
    if all(found.where != WHOLE for found in middlewares):
        places = ", ".join(found.where for found in middlewares)
        alike[0].notes.append(
            f"CORSMiddleware is only around {places}: apply the policy there, as a service of its own."
        )
    return alike[0]


def _cannot_import(application: str, error: BaseException, hint: str = "") -> str:
    return f"Cannot import {application}: {type(error).__name__}: {error}. {hint}".rstrip()


def _apply(slug: str, service: str, policy: files.PolicyValues, options: WriteOptions, *, yes: bool) -> None:
    with Api.from_environment() as api:
        current = current_tenant(api, slug)
        wanted = Tenant(current.tenant.name, {**current.tenant.policies, service: policy})
        changes = edits(current.tenant, wanted)
        steps = [Step("change", slug, current.revision, wanted, changes)] if changes else []
        report.confirm_and_apply(api, Plan(steps, 1 - len(steps), []), options, yes=yes)
