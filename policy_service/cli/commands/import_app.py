"""`corspolicy import-app`: from an application's CORSMiddleware to a policy."""

from __future__ import annotations

import contextlib
import sys

import click
from uvicorn.importer import ImportFromStringError, import_from_string

from corspolicy.core.document import DEFAULT
from policy_service.cli.commands import gitops
from policy_service.cli.cors_import.equivalent import equivalent
from policy_service.cli.cors_import.findings import Equivalent, Nearest
from policy_service.cli.cors_import.middlewares import WHOLE, find
from policy_service.cli.gitops import files
from policy_service.cli.gitops.files import Tenant
from policy_service.cli.gitops.plan import Plan, Step, current_tenant, edits
from policy_service.cli.shared.api import Api, Asked, Failure
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option

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
        click.echo(f"note: {note}", err=True)
    policy = files.stored(found.values)
    if not is_applied:
        click.echo(files.written(tenant, Tenant("", {service: policy})), nl=False)
    if found.left_out:
        raise Failure("\n  ".join(("No policy means the same as this, which is left out:", *found.left_out)))
    if is_applied:
        _apply(tenant, service, policy, Asked(reason, confirm), yes=yes)


def _found(application: str, nearest: Nearest | None, *, factory: bool) -> Equivalent:
    # As a server that is started here would find it.
    sys.path.insert(0, "")
    try:
        # What the module prints is not part of the file.
        with contextlib.redirect_stdout(sys.stderr):
            app = import_from_string(application)
            app = app() if factory else app
            middlewares = list(find(app))
    except ImportFromStringError as error:
        raise Failure(f"Cannot import {application}: {error} {_INSTALL}") from error
    except ImportError as error:
        raise Failure(f"Cannot import {application}: {type(error).__name__}: {error}. {_INSTALL}") from error
    except (Exception, SystemExit) as error:
        raise Failure(f"Cannot import {application}: {type(error).__name__}: {error}") from error
    if not middlewares:
        hint = " If it is a function that returns the application, pass --factory." if callable(app) else ""
        raise Failure(f"No CORSMiddleware in {application}.{hint}")
    alike = [equivalent(found.middleware, nearest) for found in middlewares]
    if any(each.values != alike[0].values for each in alike):
        places = ", ".join(found.where for found in middlewares)
        raise Failure(
            f"{len(middlewares)} different CORSMiddlewares: {places}. A service has one policy for all its paths: keep "
            "the one that you mean, and import again."
        )
    if all(found.where != WHOLE for found in middlewares):
        places = ", ".join(found.where for found in middlewares)
        alike[0].notes.append(
            f"CORSMiddleware is only around {places}: apply the policy there, as a service of its own."
        )
    return alike[0]


def _apply(slug: str, service: str, policy: files.PolicyValues, asked: Asked, *, yes: bool) -> None:
    with Api.from_environment() as api:
        there = current_tenant(api, slug)
        wanted = Tenant(there.tenant.name, {**there.tenant.policies, service: policy})
        changes = edits(there.tenant, wanted)
        steps = [Step("change", slug, there.revision, wanted, changes)] if changes else []
        gitops.show_and_apply(api, Plan(steps, 1 - len(steps), []), asked, yes=yes)
