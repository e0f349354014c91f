"""`corspolicy fleet`"""

from __future__ import annotations

import click

from policy_service.cli.shared.api import Api
from policy_service.cli.shared.output import echo_json, output_option, show


@click.command()
@output_option
def fleet(output: str) -> None:
    """The live processes that apply policies, and whether each holds what is published."""
    with Api.from_environment() as api:
        found = api.get("/v1/fleet")
    if output == "json":
        echo_json(found)
        return
    columns = ("services", "host", "process", "version", "state", "lag", "revision", "tenants", "rejected")
    show(
        output,
        found["processes"],
        columns,
        lambda process: [*(process[column] for column in columns[:-1]), sorted(process["rejections"])],
    )
