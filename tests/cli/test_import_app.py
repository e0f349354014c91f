"""`corspolicy import-app`, as a user calls it beside an application."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.helpers import COMMAND, Cli
from tests.support import Api

MODULE = r"""
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

print("starting …")
app = FastAPI()
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://app.example.com", "https://old.example.com/"],
    allow_origin_regex=r"https://.*\.example\.com",
    allow_methods=["GET", "HEAD", "POST", "PUT"],
    allow_headers=["Authorization"],
    allow_credentials=True,
)
without = FastAPI()
previews = FastAPI()
previews.add_middleware(
    CORSMiddleware, allow_origins=["https://a.example.com"], allow_origin_regex=r"https://app-.*\.vercel\.app"
)
twice = FastAPI()
twice.mount("/v1", app)
twice.mount("/v2", previews)


def create():
    return app
"""
DOCUMENT = """\
tenant: {tenant}
policies:
  {service}:
    allow_origins:
      - https://*.example.com
      - https://app.example.com
    allow_credentials: true
    allow_methods:
      - PUT
    allow_headers:
      - accept
      - accept-language
      - authorization
      - content-language
      - content-type
    max_age: 600
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an application."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "main.py").write_text(MODULE)
    (folder / "broken.py").write_text("import no_such_module\n")
    return folder


def _run(cli: Cli, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [COMMAND, "import-app", *arguments], cwd=folder, env=cli.environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def test_the_policy_is_printed_as_a_file_and_what_does_nothing_is_noted(cli: Cli, application: Path) -> None:
    code, output, errors = _run(cli, application, "main:app", "--tenant", "platform")
    assert (code, output) == (0, DOCUMENT.format(tenant="platform", service="default"))
    assert errors.splitlines() == [
        "starting …",
        "note: allow_origins: 'https://old.example.com/' admits nobody and is left out. An origin has no path or "
        "trailing slash: it is scheme, host and port only. If it is meant, admit https://old.example.com.",
    ]


def test_the_printed_file_can_be_applied_and_apply_does_it_at_once(
    cli: Cli, shared_api: Api, application: Path, folder: Path
) -> None:
    tenant = shared_api.new_tenant("i")
    arguments = ("main:create", "--factory", "--tenant", tenant, "--service", "billing")
    code, output, _ = _run(cli, application, *arguments)
    assert (code, output) == (0, DOCUMENT.format(tenant=tenant, service="billing"))
    code, output, errors = _run(cli, application, *arguments, "--apply", "--yes", "--reason", "moved")
    assert (code, "1 of 1 tenant applied." in output) == (0, True), errors
    assert cli.json("history", tenant)[0]["reason"] == "moved"
    assert [policy["service"] for policy in cli.json("policies", "list", tenant)] == ["billing", "default"]
    (folder / f"{tenant}.yaml").write_text(DOCUMENT.format(tenant=tenant, service="billing") + "  default: {}\n")
    assert cli("diff", "-f", folder).exit_code == 0
    assert "0 to change" in _run(cli, application, *arguments, "--apply", "--yes")[1]


def test_what_no_policy_can_say_is_left_out_and_nothing_is_applied(
    cli: Cli, shared_api: Api, application: Path
) -> None:
    tenant = shared_api.new_tenant("i")
    code, output, errors = _run(cli, application, "main:previews", "--tenant", tenant)
    assert code == 1
    assert "      - https://a.example.com\n" in output
    assert r"allow_origin_regex 'https://app-.*\\.vercel\\.app': `*` stands for whole labels" in errors
    code, output, errors = _run(cli, application, "main:previews", "--tenant", tenant, "--apply", "--yes")
    assert (code, output) == (1, "")
    assert cli.json("origins", "list", tenant) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("main:without", "No CORSMiddleware in main:without."),
        ("main:create", "pass --factory"),
        ("main:twice", "2 CORSMiddlewares in main:twice: what is mounted at /v1, what is mounted at /v2."),
        ("main:nope", "main:nope can't be imported: AttributeError: module 'main' has no attribute 'nope'"),
        ("nope:app", "nope:app can't be imported: ModuleNotFoundError: No module named 'nope'"),
        ("main", "main is not of the form MODULE:APP, such as main:app."),
        ("broken:app", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_where_nothing_can_be_imported(cli: Cli, application: Path, name: str, said: str) -> None:
    code, output, errors = _run(cli, application, name, "--tenant", "platform")
    assert (code, output) == (1, "")
    assert said in errors
    assert "Traceback" not in errors
