"""`corspolicy import-app`: from an application's CORSMiddleware to a policy."""

from __future__ import annotations

import contextlib
import sys

import click
from uvicorn.importer import ImportFromStringError, import_from_string

from corspolicy.core.document import DEFAULT
from policy_service.cli.commands import gitops
from policy_service.cli.cors_import.starlette_cors import Equivalent, equivalent, find
from policy_service.cli.gitops import files
from policy_service.cli.gitops.files import Tenant
from policy_service.cli.gitops.plan import Plan, Step, current_tenant, edits
from policy_service.cli.shared.api import Api, Asked, Failure
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option


@click.command("import-app")
@click.argument("application", metavar="MODULE:APP")
@click.option("--tenant", required=True, help="Whose policy it becomes; `platform` for that of all tenants.")
@click.option("--service", default=DEFAULT, show_default=True, help="The service that the application is.")
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
    """Print the policy that means the same as an application's CORSMiddleware, as a tenant's file.

    The application is imported, as its server would do it, so its module runs. What no policy can say is told, with
    what to do instead, and left out; the exit code is then 1, and nothing is written to the service.
    """
    found = _found(application, factory=factory)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    policy = files.stored(found.values)
    if not is_applied:
        click.echo(files.written(tenant, Tenant("", {service: policy})), nl=False)
    if found.refusals:
        raise Failure("\n  ".join(("This is left out, as no policy can say it:", *found.refusals)))
    if is_applied:
        _apply(tenant, service, policy, Asked(reason, confirm), yes=yes)


def _found(application: str, *, factory: bool) -> Equivalent:
    # As a server that is started here would find it.
    sys.path.insert(0, "")
    try:
        # What the module prints is not part of the file.
        with contextlib.redirect_stdout(sys.stderr):
            app = import_from_string(application)
            app = app() if factory else app
            middlewares = list(find(app))
    except ImportFromStringError as error:
        raise Failure(f"{application} can't be imported. {error}") from error
    except (Exception, SystemExit) as error:
        raise Failure(f"{application} can't be imported: {type(error).__name__}: {error}") from error
    if not middlewares:
        hint = " If it is a function that makes the application, pass --factory." if callable(app) else ""
        raise Failure(f"There is no CORSMiddleware in {application}.{hint}")
    if len(middlewares) > 1:
        places = ", ".join(found.where for found in middlewares)
        raise Failure(
            f"There are {len(middlewares)} CORSMiddlewares: {places}. A service has one policy for all its paths: "
            "leave the one that is meant, and import again."
        )
    return equivalent(middlewares[0].middleware)


def _apply(slug: str, service: str, policy: files.PolicyValues, asked: Asked, *, yes: bool) -> None:
    with Api.from_environment() as api:
        there = current_tenant(api, slug)
        wanted = Tenant(there.tenant.name, {**there.tenant.policies, service: policy})
        changes = edits(there.tenant, wanted)
        steps = [Step("change", slug, there.revision, wanted, changes)] if changes else []
        gitops.show_and_apply(api, Plan(steps, 1 - len(steps), []), asked, yes=yes)
