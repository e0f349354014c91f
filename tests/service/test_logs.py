"""What the service logs: nothing that a terminal obeys, no password, one line for an aborted request."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg
import httpx
import pytest
import redis

from policy_service.http.logs import SafeRecord, printable
from policy_service.local import embedded
from tests.conftest import admin_key
from tests.support import free_port, wait_until

COMMAND = str(Path(sys.executable).with_name("corspolicy"))
# An escape sequence, a C1 one, a bidi override, a zero-width space, line breaks of three kinds.
SECRET = "s3cr/et@x"
HOSTILE = "\x1b[31m\x9b31m\u202e\u200b\nERROR forged\r\u2028\x00"


class Serving(NamedTuple):
    """A service as the command line runs it, with all that it prints."""

    port: int
    key: str
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]


@pytest.fixture
def serving(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Serving]:
    port, log = free_port(), tmp_path / "log"
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", "+@all")
    urls = {
        # The tests' PostgreSQL trusts whoever comes from this machine, with any password.
        "CORSPOLICY_DATABASE_URL": database_url.replace("@", f":{quote(SECRET, safe='')}@"),
        "CORSPOLICY_REDIS_URL": redis_url.replace("redis://", f"redis://limited:{quote(SECRET, safe='')}@"),
    }
    environment = {**os.environ, **urls}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: embedded.is_open(port), "the service listens")
        yield Serving(port, admin_key(database_url), log, environment, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)
        with redis.Redis.from_url(redis_url) as client:
            client.acl_deluser("limited")
    _require_no_secret(log.read_text())


def _require_no_secret(text: str) -> None:
    assert not any(form in text for form in (SECRET, quote(SECRET), quote(SECRET, safe=""), "s3cr")), text


def test_an_aborted_request_is_one_line(serving: Serving) -> None:
    for path in ("/v1/tenants", "/v1/tenants/%1b%5b31m%0aforged%e2%80%ae/policies/default/origins"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.key}\r\nContent-Length: 100\r\n\r\n{{"
        )
        with socket.create_connection(("127.0.0.1", serving.port)) as connection:
            connection.sendall(head.encode())
            # Else the service would see the end before it reads.
            time.sleep(0.5)
    wait_until(lambda: _text(serving).count("closed the connection") == 2, "both are logged")
    assert httpx.get(f"http://127.0.0.1:{serving.port}/livez").status_code == 200
    wait_until(lambda: "/livez" in _text(serving), "what comes later is logged")
    assert "Traceback" not in _text(serving)
    about = [line for line in _text(serving).split("\n") if "/v1/tenants" in line and '" 400' not in line]
    assert about == [
        "the client closed the connection before its request was complete: POST /v1/tenants",
        "the client closed the connection before its request was complete: "
        r"POST /v1/tenants/\x1b[31m\nforged\u202e/policies/default/origins",
    ]


def test_a_client_that_goes_away_from_a_stream_or_a_wait_leaves_one_line(serving: Serving, redis_url: str) -> None:
    api = f"http://127.0.0.1:{serving.port}"
    headers = {"Authorization": f"Bearer {serving.key}"}
    httpx.post(f"{api}/v1/tenants", json={"tenant": "acme"}, headers=headers).raise_for_status()
    # A process that does not answer: a write waits for it.
    report = {"id": "silent", "host": "h", "process": 1, "services": [], "epoch": None, "cursor": "0-0"}
    with redis.Redis.from_url(redis_url) as client:
        client.zadd("{corspolicy}:processes", {"silent": client.time()[0]})
        client.set("{corspolicy}:process:silent", json.dumps(report))
    path = "/v1/tenants/acme/policies/default/origins"
    body = b'{"pattern": "https://a.example.com"}'
    requests = {
        "GET /v1/changes": b"Accept: text/event-stream\r\n\r\n",
        f"POST {path}": b"Content-Type: application/json\r\nPrefer: wait=30\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body),
    }
    for line, rest in requests.items():
        head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.key}\r\n".encode()
        with socket.create_connection(("127.0.0.1", serving.port)) as connection:
            connection.sendall(head + rest)
            if line.startswith("GET"):
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            else:
                wait_until(lambda: httpx.get(f"{api}{path}", headers=headers).json()["items"], "it is written")
    with redis.Redis.from_url(redis_url) as client:
        client.zrem("{corspolicy}:processes", "silent")
    # What ends, has ended: by itself, or with the process.
    serving.process.send_signal(signal.SIGTERM)
    serving.process.wait(15)
    text = _text(serving)
    assert "Traceback" not in text
    for line in requests:
        assert text.count(f'"{line} ') + text.count(f": {line}\n") <= 1


def test_no_password_is_shown_at_start_ups_reconnections_and_errors(serving: Serving, redis_url: str) -> None:
    def is_ready(*, redis: bool) -> bool:
        ready = httpx.get(f"http://127.0.0.1:{serving.port}/readyz")
        _require_no_secret(ready.text)
        return bool(ready.json()["redis"] is redis)

    async def end_sessions() -> None:
        connection = await asyncpg.connect(serving.environment["CORSPOLICY_DATABASE_URL"].replace("+asyncpg", ""))
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        await connection.execute(f"{others} AND pid <> pg_backend_pid()")
        await connection.close()

    wait_until(lambda: is_ready(redis=True), "it is ready")
    # Now the password is wrong, and the sessions end.
    with redis.Redis.from_url(redis_url) as client:
        client.acl_deluser("limited")
    asyncio.run(end_sessions())
    wait_until(lambda: is_ready(redis=False), "Redis is out of reach")
    wait_until(lambda: "publishing is interrupted" in _text(serving), "the publisher is interrupted")
    for command in (["takeover", "--yes"], ["serve", "--port", str(serving.port)], ["tenants", "list"]):
        environment = {
            **serving.environment,
            "CORSPOLICY_URL": f"http://me:{quote(SECRET, safe='')}@127.0.0.1:{serving.port}",
            "CORSPOLICY_API_KEY": "cpk_x",
        }
        done = subprocess.run([COMMAND, *command], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        _require_no_secret(done.stdout + done.stderr)


def _text(serving: Serving) -> str:
    with serving.log.open(newline="") as log:
        return log.read()


def test_a_raw_request_line_is_logged_printable(serving: Serving) -> None:
    for target in (b"/livez?a=\x1b[31m", b"/livez?a=\x9b31m", b"/livez?a=\xe2\x80\xae", b"/%1b[31m", b"/\x9b31m"):
        with socket.create_connection(("127.0.0.1", serving.port)) as connection:
            connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while connection.recv(4096):
                pass
    assert httpx.get(f"http://127.0.0.1:{serving.port}/readyz").status_code < 600
    wait_until(lambda: "/readyz" in _text(serving), "it is logged")
    assert all(character == "\n" or character.isprintable() for character in _text(serving))
    assert "Traceback" not in _text(serving)


class _Formatted(logging.Handler):
    """Keeps records as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def handler() -> Iterator[_Formatted]:
    previous = logging.getLogRecordFactory()
    logging.setLogRecordFactory(SafeRecord)
    yield _Formatted()
    logging.setLogRecordFactory(previous)


def test_nothing_that_a_terminal_obeys_is_in_a_record(handler: _Formatted) -> None:
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("tenant %s: %s", HOSTILE, ValueError(HOSTILE))
    logger.warning(HOSTILE)
    logger.warning("%(name)s", {"name": HOSTILE})
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception("a redis://user:secret@host failed")
    lines = handler.lines
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines[:3])
    assert lines[0].startswith(r"tenant \x1b[31m\x9b31m\u202e\u200b\nERROR forged\r\u2028\x00: ")
    first, *traceback = lines[3].split("\n")
    assert first == "a redis://user:***@host failed"
    assert all(line.isprintable() and line.startswith("  ") for line in traceback)
    assert traceback[-1] == r"  ERROR forged\r\u2028\x00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("(postgresql+asyncpg://me:se/cr@et?x@db/x)", "(postgresql+asyncpg://me:***@db/x)"),
        (
            "redis+sentinel://:secret@a,b/s/0?sentinel_password=hidden&db=1",
            "redis+sentinel://:***@a,b/s/0?sentinel_password=***&db=1",
        ),
        ("unix:///run/redis?password=hidden", "unix:///run/redis?password=***"),
        ("http://localhost:8700/v1 and me@example.com", "http://localhost:8700/v1 and me@example.com"),
        ("https://grüße.example.com ❤", "https://grüße.example.com ❤"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("command", "database", "redis"),
    [
        ("migrate", "postgresql://me:s3cr/et@127.0.0.1:1/x", "redis://127.0.0.1:1/0"),
        ("migrate", "postgresql://me:s3cret@127.0.0.1:port/x", "redis://127.0.0.1:1/0"),
        ("keys create", "postgresql://me:s3cr/et@127.0.0.1:1/x", "redis://127.0.0.1:1/0"),
        ("serve", "mysql://me:s3cret@127.0.0.1/x", "redis://127.0.0.1:1/0"),
        ("serve", "postgresql://me:s3cret@127.0.0.1:port/x", "redis://127.0.0.1:1/0"),
        ("serve", "postgresql://127.0.0.1:1/x", "redis://:s3cr/et@127.0.0.1:1/0"),
        ("serve", "postgresql://127.0.0.1:1/x", "redis://:s3cret@127.0.0.1:port/0"),
        ("serve", "postgresql://127.0.0.1:1/x", "redis+sentinel://:s3cret@127.0.0.1?sentinel_password=s3cret"),
        ("serve", "postgresql://127.0.0.1:1/x", "redis://:s3cret@127.0.0.1:1/0?no_such=1"),
    ],
)
def test_no_message_about_a_url_shows_its_password(command: str, database: str, redis: str) -> None:
    environment = {**os.environ, "CORSPOLICY_DATABASE_URL": database, "CORSPOLICY_REDIS_URL": redis}
    done = subprocess.run([COMMAND, *command.split()], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "s3cr" not in done.stdout + done.stderr
