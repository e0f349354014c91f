"""The `corspolicy` command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

# click's own 2 would collide with the exit code of `corspolicy diff` for differences.
click.UsageError.exit_code = 1

# Each is imported only when it is named, so that scripts and completion start fast.
_COMMANDS = {
    "up": "policy_service.cli.commands.servers:up",
    "serve": "policy_service.cli.commands.servers:serve",
    "migrate": "policy_service.cli.commands.servers:migrate",
    "takeover": "policy_service.cli.commands.servers:takeover",
    "tenants": "policy_service.cli.commands.tenants:tenants",
    "policies": "policy_service.cli.commands.policies:policies",
    "origins": "policy_service.cli.commands.origins:origins",
    "explain": "policy_service.cli.commands.explain:explain",
    "probe": "policy_service.cli.commands.probe:probe",
    "history": "policy_service.cli.commands.history:history",
    "restore": "policy_service.cli.commands.history:restore",
    "tail": "policy_service.cli.commands.history:tail",
    "fleet": "policy_service.cli.commands.fleet:fleet",
    "keys": "policy_service.cli.commands.keys:keys",
    "export": "policy_service.cli.commands.gitops:export",
    "diff": "policy_service.cli.commands.gitops:diff",
    "apply": "policy_service.cli.commands.gitops:apply",
    "redis-acl": "policy_service.cli.commands.redis_acl:redis_acl",
    "schema": "policy_service.cli.commands.schema:schema",
    "import-app": "policy_service.cli.commands.import_app:import_app",
}


class _Main(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _printable_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _printable_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Let no error show what a terminal obeys, or the password of a URL, whatever it names."""
    try:
        yield
    except click.ClickException as error:
        # Imported only here: completion and scripts start fast.
        from corspolicy.sync.logs import printable_lines

        error.message = printable_lines(error.message)  # type: ignore[misc]
        raise


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="corspolicy-service")
def main() -> None:
    """Centrally managed CORS policies.

    up, serve and migrate read their settings from environment variables with the prefix CORSPOLICY_. All other commands
    call the admin API at CORSPOLICY_URL (http://127.0.0.1:8700) with the key in CORSPOLICY_API_KEY.
    """
