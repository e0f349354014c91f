"""What the command line says when a call of the API fails: a readable message, no traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from policy_service.cli.shared.api import Api, Unreachable
from tests import servers
from tests.cli.helpers import Cli, write
from tests.conftest import admin_key
from tests.service.helpers import together
from tests.support import free_port, running


def _error(cli: Cli, *arguments: str, **environment: str) -> str:
    code, output, errors = cli.run(*arguments, **environment)
    assert (code, output) == (1, "")
    assert errors.startswith("Error: ")
    assert "Traceback" not in errors
    return errors


def test_without_a_key(cli: Cli) -> None:
    said = "Error: CORSPOLICY_API_KEY is not set. `corspolicy keys create` creates the first API key.\n"
    assert _error(cli, "tenants", "list", CORSPOLICY_API_KEY="") == said


@pytest.mark.parametrize("key", ["cpk_no_such", "no key", "Bearer x", "x" * 1000])
def test_with_a_wrong_key(cli: Cli, key: str) -> None:
    said = f"Error: {cli.url} rejected the key in CORSPOLICY_API_KEY: it is wrong, expired or revoked.\n"
    assert Cli(cli.url, key)("tenants", "list").stderr == said


@pytest.mark.parametrize("key", ["ключ", "a\nb"])
def test_with_an_invalid_key(cli: Cli, key: str) -> None:
    assert "characters that no key has" in Cli(cli.url, key)("tenants", "list").stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://127.0.0.1", "http://[", "http://a b", "http://"])
def test_with_an_invalid_url(url: str) -> None:
    result = Cli(url, "key")("tenants", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert url in result.stderr


def test_where_nothing_listens(cli: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = _error(cli, "tenants", "list", CORSPOLICY_URL=url)
    assert f"Can't reach {url}: " in said
    assert "Check that the service runs, and CORSPOLICY_URL." in said


def test_where_something_else_listens() -> None:
    with running(
        "policy_service.local.demo.page:create_app", {"CORSPOLICY_DEMO_API": "http://127.0.0.1:1"}, "/"
    ) as page:
        for path in ("", "/"):
            result = Cli(page.url + path, "key")("tenants", "list")
            assert result.exit_code == 1
            assert "that is not the admin API. Check CORSPOLICY_URL." in result.stderr


@contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """A listener that responds the same to everyone; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", "200 OK with text/html"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", "200 OK with application"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n",
            "301 Moved Permanently to https://elsewhere/ with no content type",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno", "502 Bad Gateway"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "404 Not Found"),
        (b"no HTTP\r\n\r\n", "Can't reach "),
        (b"", "Can't reach "),
    ],
)
def test_responses_of_something_else(answer: bytes, said: str) -> None:
    with _answering(answer) as url:
        result = Cli(url, "key")("fleet")
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_service_that_does_not_respond_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Api(url, "key", httpx.Timeout(0.2)) as api, pytest.raises(Unreachable, match="did not respond in time"):
            api.get("/v1/tenants")


@contextmanager
def limited(new_database: Callable[[], str], per_second: str) -> Iterator[Cli]:
    """The command line, with a key to a service that allows one request at once, and `per_second` after it."""
    with servers.redis() as redis_url:
        environment = {
            "CORSPOLICY_DATABASE_URL": new_database(), "CORSPOLICY_REDIS_URL": redis_url,
            "CORSPOLICY_RATE_LIMIT_PER_SECOND": per_second, "CORSPOLICY_RATE_LIMIT_BURST": "1",
        }  # fmt: skip
        with running("policy_service.app:create_app", environment) as process:
            yield Cli(process.url, admin_key(environment["CORSPOLICY_DATABASE_URL"]))


def test_requests_beyond_the_rate_limit_are_retried(new_database: Callable[[], str], folder: Path) -> None:
    with limited(new_database, "1") as cli:
        for index in range(4):
            write(folder, f"t{index}", "policies: {}\n")
        assert "4 of 4 tenants applied." in cli.ok("apply", "-f", folder, "--yes")
        headers = {"Authorization": f"Bearer {cli.environment['CORSPOLICY_API_KEY']}"}
        with httpx.Client(base_url=cli.url, headers=headers) as http:
            assert 429 in [answer.status_code for answer in together(4, lambda _: http.get("/v1/tenants"))]


def test_retries_are_bounded(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_service.cli.shared.api.MAX_WAIT_SECONDS", 0.1)
    with limited(new_database, "0.01") as cli:
        cli.ok("fleet")
        rejected = cli("fleet")
        assert (rejected.exit_code, "Too Many Requests" in rejected.stderr) == (1, True)
