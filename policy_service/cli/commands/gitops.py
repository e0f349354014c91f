"""`corspolicy export | diff | apply`: policies as files, one a tenant."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from policy_service.cli.gitops import files
from policy_service.cli.gitops.applying import Applied, apply
from policy_service.cli.gitops.files import Invalid, TenantFile
from policy_service.cli.gitops.plan import Current, Plan, Step, colour, current, lines, plan
from policy_service.cli.shared.api import Api, Asked, Failure, error_text
from policy_service.cli.shared.arguments import confirm_option, reason_option, yes_option
from policy_service.cli.shared.output import echo_json, output_option, plain

DIFFERENCES = 2
INTERRUPTED = 130

_prune_option = click.option(
    "--prune", multiple=True, metavar="TENANT", help="Delete that tenant, which has no file. As often as needed."
)
_place_option = click.option(
    "-f",
    "--file",
    "place",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="The folder of the files, or one file.",
)


@click.command("export")
@click.option(
    "-f", "--file", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder."
)
def export_command(folder: Path) -> None:
    """Write every tenant's policies to a file of its own.

    A file that says the same already is left as it is, with its comments; of one that is written anew, those at its
    top stay.
    """
    with Api.from_environment() as api:
        tenants = current(api)
    folder.mkdir(parents=True, exist_ok=True)
    count = sum(_export(folder, slug, tenant) for slug, tenant in tenants.items())
    click.echo(f"{_number(len(tenants), 'tenant')}: {_number(count, 'file')} written in {folder}.", err=True)
    strangers = [path.name for path in files.paths(folder) if path.stem not in tenants]
    if strangers:
        click.echo(f"Left as they are, of tenants that the service does not have: {', '.join(strangers)}.", err=True)


@click.command("diff")
@_place_option
@_prune_option
@output_option
def diff_command(place: Path, prune: Sequence[str], output: str) -> None:
    """Show what `apply` would change.

    Exit codes: 0, nothing; 2, something; 1, an error.
    """
    with Api.from_environment() as api:
        found = _plan(api, place, prune)
    if output == "json":
        echo_json([step.to_json() for step in found.steps])
    else:
        _show(found)
    sys.exit(DIFFERENCES if found.steps else 0)


@click.command("apply")
@_place_option
@_prune_option
@yes_option
@reason_option
@confirm_option
def apply_command(place: Path, prune: Sequence[str], yes: bool, reason: str | None, confirm: bool) -> None:
    """Show what differs from the files, ask, and change it: each tenant whole, in one revision, or not at all.

    A tenant without a file is left alone. After an interruption, run the same again: it goes on from there.
    """
    with Api.from_environment() as api:
        show_and_apply(api, _plan(api, place, prune), Asked(reason, confirm), yes=yes)


def show_and_apply(api: Api, found: Plan, asked: Asked, *, yes: bool) -> None:
    """Show a plan, ask, carry it out, and report."""
    _show(found)
    if not found.steps:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise Failure("There is nobody to ask: pass --yes to apply without a question.")
        click.confirm("Apply this?", abort=True)
    _report(found.steps, apply(api, found.steps, asked))


def _export(folder: Path, slug: str, tenant: Current) -> bool:
    path = folder / f"{slug}.yml"
    if not path.exists():
        path = folder / f"{slug}.yaml"
    heading = ""
    if path.exists():
        there = files.read(path)
        if isinstance(there, TenantFile) and there.tenant == tenant.tenant:
            return False
        heading = files.heading(path)
    # Beside it first, so that the file is there whole at any moment.
    new = path.with_name(f".{path.name}.new")
    new.write_text(heading + files.written(slug, tenant.tenant), encoding="utf-8")
    new.replace(path)
    return True


def _plan(api: Api, place: Path, prune: Sequence[str]) -> Plan:
    read = [files.read(path) for path in files.paths(place)]
    invalid = [file for file in read if isinstance(file, Invalid)]
    if invalid:
        raise Failure(_defects_text(invalid))
    tenant_files = [file for file in read if isinstance(file, TenantFile)]
    if not tenant_files and not prune:
        raise Failure(f"There are no files of tenants, such as acme.yaml, in {place}.")
    twice = [slug for slug, count in Counter(file.slug for file in tenant_files).items() if count > 1]
    if twice:
        raise Failure(f"There are two files, .yaml and .yml, of {', '.join(twice)}: remove one.")
    found = plan(tenant_files, current(api), prune)
    changing = {step.tenant for step in found.steps}
    for file in tenant_files:
        for warning in file.warnings if file.slug in changing else ():
            click.echo(f"{file.path}:{warning.line}: note: {warning.message}", err=True)
    return found


def _defects_text(invalid: Sequence[Invalid]) -> str:
    count = sum(len(file.defects) for file in invalid)
    text = f"Nothing was compared: {_number(count, 'problem')} in {_number(len(invalid), 'file')}."
    for file in invalid:
        for defect in file.defects:
            fields = {"detail": defect.message, "suggestion": defect.suggestion}
            text += "\n" + error_text(fields, f"{file.path}:{defect.line}")
    return text


def _show(found: Plan) -> None:
    for step in found.steps:
        for sign, text in lines(step):
            click.secho(plain(text), fg=colour(sign))
    counts = Counter(step.action for step in found.steps)
    parts = [f"{counts[action]:,} to {action}" for action in ("create", "change", "delete")]
    click.echo(f"{', '.join(parts)}; {found.unchanged:,} as they should be.")
    if found.without_file:
        names = ", ".join(found.without_file[:5]) + (" …" if len(found.without_file) > 5 else "")
        click.echo(f"Left alone, as {_number(len(found.without_file), 'tenant')} without a file: {names}")


def _report(steps: Sequence[Step], applied: Applied) -> None:
    click.echo(f"{applied.done:,} of {_number(len(steps), 'tenant')} applied.")
    for refusal in applied.refusals:
        click.echo(refusal, err=True)
    if applied.is_interrupted:
        click.echo("Interrupted. Run the same again: it goes on from there.", err=True)
        sys.exit(INTERRUPTED)
    if applied.stopped_by is not None:
        raise Failure(f"{applied.stopped_by.format_message()}\nOnce that is mended, run the same again.")
    if applied.refusals:
        raise Failure(f"Refused, and left as it was: {_number(len(applied.refusals), 'tenant')}.")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
