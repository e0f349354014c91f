"""Waiting until a change is applied everywhere, and reporting how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from policy_service.cli.shared.output import echo, plain

wait_option = click.option(
    "--wait", type=click.IntRange(1, 60), metavar="SECONDS", help="Wait until every live process applies it."
)


def show(response: Mapping[str, Any] | None) -> None:
    """Report which processes apply a change, if it was waited for. Raises click.ClickException if not all do."""
    report = (response or {}).get("propagation")
    if report is None:
        return
    cached = report["preflights_cached_until"]
    if cached is not None:
        last = max(filter(None, cached.values()))
        echo(f"Browsers may use cached preflight responses until {last} at the latest.", err=True)
    if report["complete"]:
        echo(f"Applied by all live processes: {report['applied']['count']}.")
        return
    lines = ["The change is saved, but not every process applies it yet:"]
    for state in ("pending", "rejected"):
        for process in report[state]["processes"]:
            why = f": {process['why']}" if "why" in process else ""
            services = ", ".join(process["services"])
            lines.append(plain(f"  {state}: process {process['process']} on {process['host']} ({services}){why}"))
        left_out = report[state]["count"] - len(report[state]["processes"])
        lines += [f"  {state}: {left_out} more"] if left_out else []
    raise click.ClickException("\n".join(lines))
