"""`corspolicy fleet`"""

from __future__ import annotations

import click

from policy_service.cli.shared.api import Api
from policy_service.cli.shared.output import echo, echo_json, output_option, show


@click.command()
@output_option
def fleet(output: str) -> None:
    """List the live processes that apply policies, and whether each is up to date."""
    with Api.from_environment() as api:
        snapshot = api.get("/v1/fleet")
    if output == "json":
        echo_json(snapshot)
        return
    if not snapshot["all_known"]:
        echo("A process may be missing: Redis lost reports, or was away, within the last 15 seconds.", err=True)
    if snapshot["not_reporting"]:
        echo(f"Not listed: {snapshot['not_reporting']} that follow and do not report.", err=True)
    columns = ("services", "host", "process", "version", "state", "lag", "revision", "tenants", "keys", "rejected")
    show(
        output,
        snapshot["processes"],
        columns,
        lambda process: [
            *(process[column] for column in columns[:-2]),
            process["key_ids"],
            sorted(process["rejections"]),
        ],
    )
