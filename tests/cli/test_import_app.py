"""`corspolicy import-app`, as a user calls it beside an application."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cli.helpers import COMMAND, Cli
from tests.support import Api

MODULE = r"""
import os
import re

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import AnyHttpUrl

print("starting …")
app = FastAPI()
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://app.example.com", "https://old.example.com/"],
    allow_origin_regex=r"https://.*\.example\.com",
    allow_methods=["GET", "HEAD", "POST", "PUT"],
    allow_headers=["X-Token"],
    allow_credentials=True,
)
without = FastAPI()
ports = FastAPI()
ports.add_middleware(
    CORSMiddleware, allow_origins=["https://a.example.com"], allow_origin_regex=r"http://localhost:\d{4}"
)
typed = FastAPI()
typed.add_middleware(
    CORSMiddleware,
    allow_origins=[os.environ.get("FRONTEND_URL"), AnyHttpUrl("https://a.example.com"), "app://."],
    allow_origin_regex=re.compile(r"https://B\.Example\.com", re.IGNORECASE),
    max_age=None,
)
twice, alike = FastAPI(), FastAPI()
twice.mount("/v1", app)
twice.mount("/v2", ports)
alike.mount("/v1", app)
alike.mount("/v2", app)


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
      - content-language
      - content-type
      - x-token
    max_age: 600
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an application."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "main.py").write_text(MODULE)
    (folder / "broken.py").write_text("import no_such_module\n")
    (folder / "unstarted.py").write_text(
        "from fastapi import FastAPI\nfrom fastapi.middleware.cors import CORSMiddleware\n"
        "app = FastAPI()\napp.add_middleware(CORSMiddleware, allow_origin_regex='*')\n"
    )
    return folder


def _run(cli: Cli, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [COMMAND, "import-app", *arguments], cwd=folder, env=cli.environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def _origins(output: str) -> list[str]:
    found = yaml.safe_load(output)["policies"]["default"]["allow_origins"]
    assert isinstance(found, list)
    return found


def test_the_policy_is_printed_as_a_file_and_what_does_nothing_is_noted(cli: Cli, application: Path) -> None:
    code, output, errors = _run(cli, application, "main:app", "--tenant", "platform")
    assert (code, output) == (0, DOCUMENT.format(tenant="platform", service="default"))
    printed, note = errors.splitlines()
    assert printed == "starting …"
    assert note.startswith("note: allow_origins: 'https://old.example.com/' allows nobody and is left out.")
    assert note.endswith("add it: `corspolicy origins add TENANT 'https://old.example.com'`.")


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


def test_what_no_policy_means_is_left_out_and_nothing_is_applied(cli: Cli, shared_api: Api, application: Path) -> None:
    tenant = shared_api.new_tenant("i")
    code, output, errors = _run(cli, application, "main:ports", "--tenant", tenant)
    assert (code, _origins(output)) == (1, ["https://a.example.com"])
    assert r"allow_origin_regex 'http://localhost:\d{4}': no patterns match the same origins." in errors
    code, output, errors = _run(cli, application, "main:ports", "--tenant", tenant, "--apply", "--yes")
    assert (code, output) == (1, "")
    assert cli.json("origins", "list", tenant) == []


def test_the_nearest_policy_can_be_chosen_and_applied(cli: Cli, shared_api: Api, application: Path) -> None:
    tenant = shared_api.new_tenant("i")
    choose = ("main:ports", "--tenant", tenant, "--nearest")
    code, output, errors = _run(cli, application, *choose, "narrower")
    assert (code, _origins(output)) == (0, ["https://a.example.com"])
    assert "it leaves out http://localhost:1000" in errors
    code, output, errors = _run(cli, application, *choose, "wider")
    assert (code, _origins(output)) == (0, ["http://localhost:*", "https://a.example.com"])
    assert "it also matches http://localhost," in errors
    assert _run(cli, application, *choose, "wider", "--apply", "--yes")[0] == 0
    assert {entry["pattern"] for entry in cli.json("origins", "list", tenant)} == set(_origins(output))


def test_values_of_any_type_are_read(cli: Cli, application: Path) -> None:
    code, output, errors = _run(cli, application, "main:typed", "--tenant", "platform")
    assert (code, _origins(output)) == (0, ["app://.", "https://b.example.com"])
    assert "max_age" not in output
    for said in ("None is not a text", "AnyHttpUrl('https://a.example.com/') is not a text", "max_age: None"):
        assert said in errors


def test_several_that_are_alike_are_one(cli: Cli, application: Path) -> None:
    code, output, errors = _run(cli, application, "main:alike", "--tenant", "platform")
    assert (code, output) == (0, DOCUMENT.format(tenant="platform", service="default"))
    assert "CORSMiddleware is only around the routes at /v1, the routes at /v2" in errors


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("main:without", "No CORSMiddleware in main:without."),
        ("main:create", "pass --factory"),
        ("main:twice", "2 different CORSMiddlewares: the routes at /v1, the routes at /v2."),
        ("main:nope", "Cannot import main:nope: AttributeError: module 'main' has no attribute 'nope'"),
        ("nope:app", "Cannot import nope:app: ModuleNotFoundError: No module named 'nope'"),
        ("main", "main is not of the form MODULE:APP, such as main:app."),
        ("broken:app", "ModuleNotFoundError: No module named 'no_such_module'. Install corspolicy-service beside"),
        ("unstarted:app", "nothing to repeat"),
    ],
)
def test_where_nothing_can_be_imported(cli: Cli, application: Path, name: str, said: str) -> None:
    code, output, errors = _run(cli, application, name, "--tenant", "platform")
    assert (code, output) == (1, "")
    assert said in errors
    assert "Traceback" not in errors


def test_the_help_says_where_it_has_to_be_installed(cli: Cli) -> None:
    assert "installed beside the application's own dependencies" in " ".join(cli.ok("import-app", "--help").split())
