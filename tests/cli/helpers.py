"""Helpers for the tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from policy_service.cli.main import main

COMMAND = str(Path(sys.executable).with_name("corspolicy"))


class Cli:
    """Runs commands against a service: within this process, or each in one of its own."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.environment = {"CORSPOLICY_URL": url, "CORSPOLICY_API_KEY": key or ""}

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> Result:
        """Run a command; an exception that is not one of click's fails the test."""
        runner = CliRunner(env=self.environment)
        return runner.invoke(main, list(map(str, arguments)), input=stdin, catch_exceptions=False)

    def ok(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run a command that must succeed; returns what it printed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str | Path) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.ok(*arguments, "--output", "json"))

    def start(self, printed: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own, with its output in a file."""
        with printed.open("wb") as file:
            return subprocess.Popen(
                [COMMAND, *map(str, arguments)],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        """Run a command in a process of its own: its exit code, output and errors."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CORSPOLICY_")}
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            env={**inherited, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr


def write(folder: Path, tenant: str, text: str) -> Path:
    """Write a tenant's file; `text` is what follows the tenant's slug."""
    path = folder / f"{tenant}.yaml"
    path.write_text(f"tenant: {tenant}\n{text}")
    return path
