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
        if on_demand := report["applied"]["on_demand"]:
            echo(f"  {on_demand} of them hold tenants on demand: they have read the change, and prove no more.")
        if report["not_reporting"] is None:
            echo("  Processes that can't report are not known: the service's Redis user needs +client|list.")
        return
    lines = ["The change is saved, but is not known to be applied everywhere yet:"]
    lines.append(f"  applied: {report['applied']['count']}")
    if not report["published"]:
        lines.append("  not published: Redis does not have it yet (see /readyz)")
    if not report["all_known"]:
        lines.append("  not all processes are known: Redis lost their reports, or was away; try again in 15 seconds")
    if report["not_reporting"]:
        lines.append(f"  not reporting: {report['not_reporting']}, whose Redis user may not write (see /v1/fleet)")
    for state in ("pending", "rejected"):
        for process in report[state]["processes"]:
            why = f": {process['why']}" if "why" in process else ""
            services = ", ".join(process["services"])
            lines.append(plain(f"  {state}: process {process['process']} on {process['host']} ({services}){why}"))
        left_out = report[state]["count"] - len(report[state]["processes"])
        lines += [f"  {state}: {left_out} more"] if left_out else []
    raise click.ClickException("\n".join(lines))
