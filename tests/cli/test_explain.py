"""`corspolicy explain`: what it says, what it reads, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import Cli
from tests.support import Api

ORIGIN = "https://a.example.com"


@pytest.fixture
def tenant(shared_api: Api) -> str:
    """A tenant that allows ORIGIN and PUT."""
    slug = shared_api.new_tenant()
    assert shared_api.put_policy(slug, {"allow_origins": [ORIGIN], "allow_methods": ["PUT"]}).is_success
    return slug


def test_an_allowed_origin(cli: Cli, tenant: str) -> None:
    allowed = cli.ok("explain", tenant, ORIGIN, "--method", "PUT")
    assert allowed.startswith("allowed\n")
    assert f"\norigin allowed by {ORIGIN}, policy default of {tenant}\n" in allowed
    assert "response 204, with:\n  access-control-allow-origin: https://a.example.com\n" in allowed
    assert "response, from the service's app, with:" in cli.ok("explain", tenant, ORIGIN)


def test_a_denied_request_exits_with_3(cli: Cli, tenant: str) -> None:
    denied = cli("explain", tenant, ORIGIN, "--service", "billing", "--header", "X-B", "--header", "x-a")
    assert denied.exit_code == 3
    assert denied.stdout.startswith("denied (headers_not_allowed)\n")
    assert "does not list the headers x-a, x-b: add them to allow_headers." in denied.stdout
    denied = cli("explain", tenant, "http://a.example.com", "--output", "json")
    assert denied.exit_code == 3
    assert '"reason": "origin_not_allowed"' in denied.stdout
    assert f"{ORIGIN} is allowed, http://a.example.com is not: different scheme." in denied.stdout


def test_an_earlier_revision(cli: Cli, shared_api: Api, tenant: str) -> None:
    before = cli.json("tenants", "show", tenant)["revision"]
    cli.ok("origins", "remove", tenant, ORIGIN, "--confirm")
    assert cli("explain", tenant, ORIGIN).exit_code == 3
    assert cli.json("explain", tenant, ORIGIN, "--revision", str(before))["allowed"] is True


@pytest.mark.parametrize(
    ("method", "headers", "sent"),
    [
        ("put", [], ("OPTIONS", "PUT", None)),
        ("get", [], ("GET", None, None)),
        ("patch", [], ("OPTIONS", "patch", None)),
        ("post", ["Accept", "X-B", "x-a", "X-A"], ("OPTIONS", "POST", "x-a,x-b")),
        ("POST", ["Accept", "Content-Language"], ("POST", None, None)),
        ("POST", ["Content-Type"], ("OPTIONS", "POST", "content-type")),
    ],
)
def test_a_pages_request_is_sent_as_browsers_send_it(
    cli: Cli, tenant: str, method: str, headers: list[str], sent: tuple[str, str | None, str | None]
) -> None:
    options = [option for name in headers for option in ("--header", name)]
    denied = cli("explain", tenant, "null", "--method", method, *options, "--output", "json")
    assert denied.exit_code == 3
    decided_on = json.loads(denied.stdout)["decided_on"]
    assert (decided_on["method"], decided_on["requested_method"], decided_on["requested_headers"]) == sent


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_pasted_request_from_a_file_or_standard_input(cli: Cli, tenant: str, tmp_path: Path, encoding: str) -> None:
    pasted = f"curl 'https://api.example.net/' -H 'origin: {ORIGIN}' -X 'PUT' -H 'x-trace: ü'"
    file = tmp_path / "request.txt"
    file.write_text(pasted, encoding=encoding)
    denied = cli("explain", tenant, "--request", file)
    assert denied.exit_code == 3
    assert "Before this PUT, browsers send a preflight, which is denied." in denied.stdout
    assert f"read from: curl command\ndecided on: OPTIONS from {ORIGIN} for PUT with x-trace\n" in denied.stdout
    several = f"curl http://x/ ;\ncurl http://x/ -H 'Origin: {ORIGIN}'"
    assert (
        f"read from: curl command, request 2 of 2, the first with an Origin\ndecided on: GET from {ORIGIN}\n"
        in cli.ok("explain", tenant, "--request", "-", stdin=several)
    )
    first = cli.ok("explain", tenant, "--request", "-", "--entry", "1", stdin=several)
    assert first.startswith("not subject to CORS\n")


def test_what_cannot_be_read_exits_with_1(cli: Cli, tenant: str) -> None:
    failed = cli("explain", tenant, "--request", "-", stdin="hello")
    assert failed.exit_code == 1
    assert "This is not a request. Paste a request from the browser's network panel" in failed.stderr
    failed = cli("explain", tenant, "--request", "-", stdin="x" * 1_000_001)
    assert (failed.exit_code, "larger than 1000000 bytes" in failed.stderr) == (1, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "Pass either ORIGIN, or --request"),
        ((ORIGIN, "--request", "-"), "Pass either ORIGIN, or --request"),
        (("--request", "-", "--method", "PUT"), "Pass --method and --header with ORIGIN"),
        (("--request", "-", "--header", "x-a"), "Pass --method and --header with ORIGIN"),
        ((ORIGIN, "--entry", "1"), "Pass --entry with --request"),
    ],
)
def test_options_that_exclude_each_other(cli: Cli, options: tuple[str, ...], says: str) -> None:
    failed = cli("explain", "acme", *options, stdin="")
    assert failed.exit_code == 1
    assert says in failed.stderr


def test_the_command_needs_none_of_the_servers_packages() -> None:
    names = ("alembic", "asyncpg", "fastapi", "publicsuffixlist", "pydantic", "sqlalchemy", "starlette", "uvicorn")
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in names)
    run = "from policy_service.cli.main import main; main(['explain', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {blocked}{run}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "3 if it is denied" in " ".join(done.stdout.split())
