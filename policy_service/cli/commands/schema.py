"""`corspolicy schema`: the JSON Schema of a tenant's file, for editors and for CI."""

from __future__ import annotations

import click

from policy_service.cli.gitops.schema import SCHEMA
from policy_service.cli.shared.output import echo_json


@click.command()
def schema() -> None:
    """Print the JSON Schema of a tenant's file.

    Editors with a YAML language server use it from a first line such as
    `# yaml-language-server: $schema=tenant.schema.json`.
    """
    echo_json(SCHEMA)
