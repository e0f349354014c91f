"""`corspolicy export | diff | apply`: policies as files, one for each tenant."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from policy_service.cli.gitops import files, report
from policy_service.cli.gitops.export import export as write_files
from policy_service.cli.gitops.files import Invalid, TenantFile
from policy_service.cli.gitops.plan import Plan, current, plan
from policy_service.cli.shared.api import Api, WriteOptions, error_text
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option
from policy_service.cli.shared.output import counted, echo, echo_json, output_option

DIFFERENCES = 2

_prune_option = click.option(
    "--prune", multiple=True, metavar="TENANT", help="Delete this tenant, which has no file; repeatable."
)
_place_option = click.option(
    "-f",
    "--file",
    "place",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="The folder of the files, or one file.",
)


@click.command()
@click.option(
    "-f", "--file", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder."
)
def export(folder: Path) -> None:
    """Write every tenant's policies to a file of its own.

    A file that already says the same is not touched, so it keeps its comments. A file that is rewritten keeps the
    comments at its top.
    """
    with Api.from_environment() as api:
        tenants = current(api)
    count = write_files(folder, tenants)
    echo(f"{counted(len(tenants), 'tenant')}: {counted(count, 'file')} written in {folder}.", err=True)
    unknown = [path.name for path in files.paths(folder) if path.stem not in tenants]
    if unknown:
        echo(f"Not touched, because the service has no such tenant: {', '.join(unknown)}.", err=True)


@click.command()
@_place_option
@_prune_option
@output_option
def diff(place: Path, prune: Sequence[str], output: str) -> None:
    """Show what `apply` would change.

    Exit codes: 0, nothing; 2, something; 1, an error.
    """
    with Api.from_environment() as api:
        changes = _plan(api, place, prune)
    if output == "json":
        echo_json([step.to_json() for step in changes.steps])
    else:
        report.show(changes)
    sys.exit(DIFFERENCES if changes.steps else 0)


@click.command()
@_place_option
@_prune_option
@yes_option
@reason_option
@confirm_option
def apply(place: Path, prune: Sequence[str], yes: bool, reason: str | None, confirm: bool) -> None:
    """Make the service match the files: show the differences, ask, and apply them.

    Each tenant is changed entirely, in one revision, or not at all. A tenant without a file is left unchanged. After an
    interruption, run the command again to continue.
    """
    with Api.from_environment() as api:
        report.confirm_and_apply(api, _plan(api, place, prune), WriteOptions(reason, confirm), yes=yes)


def _plan(api: Api, place: Path, prune: Sequence[str]) -> Plan:
    read = [files.read(path) for path in files.paths(place)]
    invalid = [file for file in read if isinstance(file, Invalid)]
    if invalid:
        raise click.ClickException(_defects_text(invalid))
    tenant_files = [file for file in read if isinstance(file, TenantFile)]
    if not tenant_files and not prune:
        raise click.ClickException(f"No tenant files, such as acme.yaml, in {place}.")
    twice = [slug for slug, count in Counter(file.slug for file in tenant_files).items() if count > 1]
    if twice:
        raise click.ClickException(f"Both a .yaml and a .yml file for {', '.join(twice)}: remove one.")
    changes = plan(tenant_files, current(api), prune)
    changing = {step.tenant for step in changes.steps}
    for file in tenant_files:
        for warning in file.warnings if file.slug in changing else ():
            echo(f"{file.path}:{warning.line}: note: {warning.message}", err=True)
    return changes


def _defects_text(invalid: Sequence[Invalid]) -> str:
    count = sum(len(file.defects) for file in invalid)
    text = f"{counted(count, 'problem')} in {counted(len(invalid), 'file')}; nothing was compared or changed."
    for file in invalid:
        for defect in file.defects:
            fields = {"detail": defect.message, "suggestion": defect.suggestion}
            text += "\n" + error_text(fields, f"{file.path}:{defect.line}")
    return text
