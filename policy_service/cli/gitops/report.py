"""Showing a plan, applying it when it is confirmed, and reporting the outcome."""

from __future__ import annotations

import sys
from collections import Counter

import click

from policy_service.cli.gitops.apply import Applied, apply
from policy_service.cli.gitops.plan import Plan, colour, lines
from policy_service.cli.shared.api import Api, WriteOptions
from policy_service.cli.shared.output import ask, counted, echo, echo_lines

INTERRUPTED = 130
_MAX_NAMED = 5


def show(plan: Plan) -> None:
    """Print what a plan changes."""
    for step in plan.steps:
        for sign, text in lines(step):
            echo(text, colour=colour(sign))
    counts = Counter(step.action for step in plan.steps)
    parts = [f"{counts[action]:,} to {action}" for action in ("create", "change", "delete")]
    echo(f"{', '.join(parts)}; {plan.unchanged:,} unchanged.")
    if plan.without_file:
        names = ", ".join(plan.without_file[:_MAX_NAMED]) + (" …" if len(plan.without_file) > _MAX_NAMED else "")
        echo(f"{counted(len(plan.without_file), 'tenant')} without a file, left unchanged: {names}")


def confirm_and_apply(api: Api, plan: Plan, options: WriteOptions, *, yes: bool) -> None:
    """Show a plan, ask unless `yes`, apply it, and report. Raises click.ClickException if not all was applied."""
    show(plan)
    if not plan.steps:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.ClickException("Not a terminal: pass --yes to apply without confirmation.")
        ask("Apply this?")
    _report(len(plan.steps), apply(api, plan.steps, options))


def _report(count: int, applied: Applied) -> None:
    echo(f"{applied.done:,} of {counted(count, 'tenant')} applied.")
    for rejection in applied.rejections:
        echo_lines(rejection, err=True)
    if applied.is_interrupted:
        echo("Interrupted. Run the command again to continue.", err=True)
        sys.exit(INTERRUPTED)
    if applied.stopped_by is not None:
        message = applied.stopped_by.format_message()
        raise click.ClickException(f"{message}\nOnce that is fixed, run the command again to continue.")
    if applied.rejections:
        raise click.ClickException(f"Rejected and left unchanged: {counted(len(applied.rejections), 'tenant')}.")
