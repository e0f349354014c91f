"""Waiting until a change is applied everywhere, and saying how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from policy_service.cli.shared.api import Failure
from policy_service.cli.shared.output import plain

wait_option = click.option(
    "--wait", type=click.IntRange(1, 60), metavar="SECONDS", help="Wait until every live process applies it."
)


def show(answer: Mapping[str, Any] | None) -> None:
    """Say who applies the change, if it was waited for. Raises Failure where not all do."""
    found = (answer or {}).get("propagation")
    if found is None:
        return
    cached = found["preflights_cached_until"]
    if cached is not None:
        last = max(filter(None, cached.values()))
        click.echo(f"Browsers may go by preflights that they have cached until {last} at the latest.", err=True)
    if found["complete"]:
        click.echo(f"Applied by all live processes: {found['applied']['count']}.")
        return
    lines = ["The change is made, but not all apply it yet:"]
    for state in ("pending", "rejected"):
        for process in found[state]["processes"]:
            why = f": {process['why']}" if "why" in process else ""
            services = ", ".join(process["services"])
            lines.append(plain(f"  {state}: process {process['process']} on {process['host']} ({services}){why}"))
        left_out = found[state]["count"] - len(found[state]["processes"])
        lines += [f"  {state}: {left_out} more"] if left_out else []
    raise Failure("\n".join(lines))
