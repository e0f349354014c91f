"""What the tests of `corspolicy probe` share."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from policy_service.cli.main import main

ORIGIN = "https://app.example.com"
STRANGER = "https://stranger.example"
POLICY = {
    "allow_origins": [ORIGIN],
    "allow_credentials": True,
    "allow_methods": ["PUT"],
    "allow_headers": ["authorization", "x-own"],
    "expose_headers": ["x-total"],
    "max_age": 60,
}


def probe(port: int, *options: str, origin: str = ORIGIN, path: str = "/") -> Result:
    """Run the command within this process, without a key of the admin API."""
    arguments = ["probe", f"http://127.0.0.1:{port}{path}", "--origin", origin, *options]
    return CliRunner(env={"CORSPOLICY_API_KEY": ""}).invoke(main, arguments, catch_exceptions=False)


def json_of(result: Result) -> dict[str, Any]:
    """What it printed for scripts."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def outcome(port: int, *options: str, origin: str = ORIGIN, path: str = "/") -> tuple[int, str, dict[str, bool]]:
    """The exit code, the reason, and the findings: by code, whether it is a fault."""
    result = probe(port, *options, "-o", "json", origin=origin, path=path)
    report = json_of(result)
    return result.exit_code, report["reason"], {each["code"]: each["fault"] for each in report["findings"]}
