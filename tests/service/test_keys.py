"""API keys: made on the command line, kept as a keyed hash, never in a log."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_service.local import embedded
from tests.conftest import admin_key
from tests.service.helpers import execute, forged, problem, rows
from tests.support import Process, free_port, running, wait_until

COMMAND = str(Path(sys.executable).with_name("corspolicy"))
KEY = re.compile(r"cpk_([0-9a-f]{12})_([0-9a-f]{64})[0-9a-f]{8}")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CORSPOLICY_")}
    return subprocess.run(
        [COMMAND, *arguments], env={**plain, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def made(service: Process) -> tuple[str, str]:
    """A key made on the command line, and the id that it has."""
    done = _run("keys", "create", "--description", "for CI ❤", **service.environment)
    assert (done.returncode, done.stderr) == (0, "")
    found = KEY.fullmatch(done.stdout.strip())
    assert found is not None, done.stdout
    return found[0], found[1]


def test_a_key_made_on_the_command_line_opens_the_api_and_signs_what_it_changes(
    service: Process, made: tuple[str, str]
) -> None:
    key, key_id = made
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.post("/v1/tenants", json={"tenant": "by-key"}).status_code == 201
        added = http.post("/v1/tenants/by-key/policies/default/origins", json={"pattern": "https://a.example.com"})
        assert added.json()["created_by"] == f"key:{key_id}"
    actors = rows(service.environment["CORSPOLICY_DATABASE_URL"], "SELECT actor FROM changes WHERE tenant = 'by-key'")
    assert actors == [(f"key:{key_id}",)] * 2


def test_only_a_keyed_hash_of_the_key_is_kept(service: Process, made: tuple[str, str]) -> None:
    key, key_id = made
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    [(secret,)] = rows(database_url, "SELECT secret FROM hash_secret")
    assert len(secret) == 32
    [(kept, description)] = rows(database_url, f"SELECT digest, description FROM api_keys WHERE id = '{key_id}'")
    assert kept == hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()
    assert description == "for CI ❤"
    for (table,) in rows(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        assert key.split("_")[2][:64] not in repr(rows(database_url, f"SELECT t::text FROM {table} t")), table


def test_with_a_pepper_whoever_can_write_to_the_database_still_cannot_make_a_key(service: Process) -> None:
    environment = {**service.environment, "CORSPOLICY_KEY_PEPPER": "not in the database"}
    with running("policy_service.app:create_app", environment) as peppered:
        for environment, statuses in ((peppered.environment, (200, 401)), (service.environment, (401, 200))):
            key = _run("keys", "create", **environment).stdout.strip()
            answers = [
                httpx.get(f"{process.url}/v1/tenants", headers={"Authorization": f"Bearer {key}"})
                for process in (peppered, service)
            ]
            assert tuple(answer.status_code for answer in answers) == statuses


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), {"role": "admin", "tenants": None, "may_write": True, "expires_at": None}),
        (("--role", "reader"), {"role": "reader", "tenants": None, "may_write": False}),
        (("--role", "tenant", "--tenant", "platform"), {"role": "tenant", "tenants": ["platform"], "may_write": False}),
        (
            ("--role", "tenant", "--tenant", "platform", "--write", "--expires-at", "2099-01-31T12:00:00+01:00"),
            {"role": "tenant", "may_write": True, "expires_at": "2099-01-31T11:00:00Z"},
        ),
    ],
)
def test_the_command_makes_keys_of_every_role(
    service: Process, arguments: tuple[str, ...], shown: dict[str, Any]
) -> None:
    key = _run("keys", "create", *arguments, **service.environment).stdout.strip()
    answer = httpx.get(f"{service.url}/v1/keys/self", headers={"Authorization": f"Bearer {key}"}).json()
    assert answer["created_by"] == "corspolicy keys create"
    assert shown.items() <= answer.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--role", "root"), "not one of 'admin', 'tenant', 'reader'"),
        (("--role", "tenant"), "needs tenants"),
        (("--role", "tenant", "--tenant", "nobody-here"), "Unknown tenant 'nobody-here'"),
        (("--role", "tenant", "--tenant", "A"), "lower-case letters"),
        (("--tenant", "platform"), "only a key of role tenant"),
        (("--role", "reader", "--write"), "only a key of role tenant"),
        (("--expires-at", "2001-01-31T12:00:00Z"), "in the future"),
        (("--expires-at", "9999-12-31T23:59:59-23:59"), "not a valid time in UTC"),
        (("--expires-at", "2099-01-31T12:00:00"), "nor a time such as"),
        (("--description", "x" * 201), "at most 200"),
        (("--description", "a\nb"), "printable"),
    ],
)
def test_the_command_says_what_is_wrong_and_makes_no_key(
    service: Process, arguments: tuple[str, ...], message: str
) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    before = rows(database_url, "SELECT id FROM api_keys ORDER BY id")
    done = _run("keys", "create", *arguments, **service.environment)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(database_url, "SELECT id FROM api_keys ORDER BY id") == before


def test_every_key_is_another_one(database_url: str) -> None:
    made = {admin_key(database_url) for _ in range(20)}
    assert len({KEY.fullmatch(key) for key in made} - {None}) == 20
    assert len({key.split("_")[1] for key in made}) == len({key.split("_")[2] for key in made}) == 20


def test_the_command_says_which_settings_are_missing() -> None:
    done = _run("keys", "create")
    assert done.returncode == 1
    assert "CORSPOLICY_DATABASE_URL" in done.stderr
    assert "CORSPOLICY_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def url(database_url: str, redis_url: str, log: Path) -> Iterator[str]:
    """The service as the command line runs it, with everything that it prints in a file."""
    port = free_port()
    environment = {**os.environ, "CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: embedded.is_open(port), "the service listens")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def test_no_key_is_ever_in_the_log_not_even_of_an_unexpected_error(url: str, database_url: str, log: Path) -> None:
    key = admin_key(database_url)
    wrong = forged(key, secret="0" * 64)
    with httpx.Client(base_url=url) as http:
        for value, status in ((key, 200), (wrong, 401), (f"{key} ", 200), (f"{key}_", 401)):
            answer = http.get("/v1/tenants", headers={"Authorization": f"Bearer {value}".strip()})
            assert answer.status_code == status
        execute(database_url, "ALTER TABLE api_keys RENAME COLUMN digest TO hidden")
        answer = http.get("/v1/tenants", headers={"Authorization": f"Bearer {key}"})
        problem(answer, 500, "internal-error")
    wait_until(lambda: "unexpected error" in log.read_text(), "the error is logged")
    text = log.read_text()
    assert "Traceback" in text
    assert "GET /v1/tenants" in text
    for secret in (key, wrong, key.rpartition("_")[2], wrong.rpartition("_")[2]):
        assert secret not in text
    assert key.rpartition("_")[2] not in answer.text
