"""Clients of `corspolicy serve` that send nothing, half of it or too much, or read nothing: each ends by a deadline."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests import servers
from tests.conftest import admin_api, service_environment
from tests.service.following import Following
from tests.service.helpers import client_with, new_key, problem
from tests.support import Api, Process, free_port, wait_until

DEADLINE_SECONDS = 0.5
MAX_CONNECTIONS = 8


class _Serve(Process):
    def _server(self, application: str, port: int) -> list[str]:
        return []

    def start(self) -> None:
        port = self.url.rpartition(":")[2]
        self._command = [str(Path(sys.executable).with_name("corspolicy")), "serve", "--port", port]
        super().start()


@contextlib.contextmanager
def _serving(environment: dict[str, str]) -> Iterator[_Serve]:
    process = _Serve("", free_port(), environment)
    try:
        process.wait_until_answering()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def environment(new_database: Callable[[], str]) -> Iterator[dict[str, str]]:
    with servers.redis() as redis_url:
        yield service_environment(new_database(), redis_url)


@pytest.fixture(scope="module")
def service(environment: dict[str, str]) -> Iterator[Process]:
    names = ("HEAD", "BODY", "RESPONSE")
    deadlines = {f"CORSPOLICY_{name}_TIMEOUT_SECONDS": str(DEADLINE_SECONDS) for name in names}
    with _serving(environment | deadlines | {"CORSPOLICY_KEEP_ALIVE_SECONDS": "1"}) as process:
        yield process


@pytest.fixture(scope="module")
def api(service: Process) -> Iterator[Api]:
    with admin_api(service) as api:
        yield api


@pytest.fixture(scope="module")
def small(environment: dict[str, str]) -> Iterator[Process]:
    """A service for few clients, which have time."""
    with _serving(environment | {"CORSPOLICY_MAX_CONNECTIONS": str(MAX_CONNECTIONS)}) as process:
        yield process


@contextlib.contextmanager
def _connected(service: Process, sent: bytes = b"", receive_buffer: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
        connection.sendall(sent)
        yield connection


def _open(service: Process) -> set[int]:
    """The client's ports of the connections that the service has."""
    port = int(service.url.rpartition(":")[2])
    # Also those that are closed here, and not there.
    connections = psutil.Process(service.pid).net_connections("tcp4")
    return {c.raddr.port for c in connections if c.laddr.port == port and c.raddr and c.status != "TIME_WAIT"}


def _received_at_last(connection: socket.socket, trickle: bytes) -> bytes:
    """What comes until the service ends the connection, while a byte is sent now and then."""
    received = b""
    connection.settimeout(0.05)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if trickle:
                connection.send(trickle)
            if not (piece := connection.recv(65536)):
                return received
            received += piece
        except TimeoutError:
            pass
        except ConnectionError:
            return received
    raise AssertionError("the connection is still open")


def _put(key: str, length: int) -> bytes:
    head = f"PUT /v1/tenants/none/policies/default HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}If-Match: *\r\nContent-Length: {length}\r\n\r\n{{".encode()


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [
        (b"", b""),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b""),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ", b"a"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nX-A: ", b"a"),
        # Its response is there long before its body is.
        (_put("mistyped", 1000), b" "),
    ],
    ids=["nothing", "half a head", "a slow head", "a slow second head", "a body that nobody reads"],
)
def test_a_client_that_keeps_the_service_waiting_is_dropped(service: Process, sent: bytes, trickle: bytes) -> None:
    with _connected(service, sent) as connection:
        _received_at_last(connection, trickle)


def test_a_body_that_takes_too_long_is_rejected(service: Process, api: Api) -> None:
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    with _connected(service, _put(key, 1000)) as connection:
        head, _, body = _received_at_last(connection, b" ").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert b"urn:corspolicy:problem:body-timeout" in body
    assert b"CORSPOLICY_BODY_TIMEOUT_SECONDS" in body


def test_a_client_that_does_not_read_is_dropped(service: Process, api: Api) -> None:
    tenant = api.new_tenant()
    entries = [{"pattern": f"https://{n}.example.com", "note": "x" * 500} for n in range(1000)]
    assert api.put_policy(tenant, {"allow_origins": entries}).status_code == 200
    authorization = f"Authorization: {api.http.headers['authorization']}"
    request = f"GET /v1/tenants/{tenant}?include=policies HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n".encode()
    # In all more than what the kernels hold.
    with _connected(service, request * 15, receive_buffer=4096) as connection:
        port = connection.getsockname()[1]
        wait_until(lambda: port in _open(service), "it is accepted")
        wait_until(lambda: port not in _open(service), "it is dropped", 10)


@pytest.mark.parametrize(
    ("beginning", "endless"),
    [
        (b"GET /livez HTTP/1.1\r\nX-A: ", b"a" * (1 << 20)),
        (b"GET /livez HTTP/1.1\r\n", b"X-A: a\r\n" * (1 << 17)),
        (b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n" * (1 << 17)),
        (b"", b"GET /livez HTTP/1.1\r\n\r\n" * (1 << 15)),
    ],
    ids=["a header", "headers", "trailers", "requests"],
)
def test_a_client_that_sends_without_end_is_dropped(small: Process, beginning: bytes, endless: bytes) -> None:
    with _connected(small, beginning) as connection, pytest.raises(ConnectionError):
        connection.sendall(endless * 100)


def test_a_body_in_small_pieces_is_read(service: Process, api: Api) -> None:
    tenant = api.new_tenant()
    body = b'{"allow_origins": []' + b" " * 200_000 + b"}"
    pieces = (body[at : at + 100] for at in range(0, len(body), 100))
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    answer = api.http.put(f"/v1/tenants/{tenant}/policies/default", content=pieces, headers=headers)
    assert answer.status_code == 200, answer.text


def test_the_number_of_connections_is_bounded_and_health_checks_are_served(small: Process) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(_connected(small)) for _ in range(3 * MAX_CONNECTIONS)]
        last = silent[-1].getsockname()[1]
        wait_until(lambda: last in _open(small), "the last one is accepted")
        # Long before their deadline.
        wait_until(lambda: len(_open(small)) <= MAX_CONNECTIONS, "those that have waited longest are dropped", 5)
        assert last in _open(small)
        assert httpx.get(f"{small.url}/livez").status_code == 200
    with admin_api(small) as api, ExitStack() as stack:
        followers = [
            stack.enter_context(client_with(api, new_key(api, role="reader")["key"])) for _ in range(MAX_CONNECTIONS)
        ]
        wait_until(lambda: not _open(small), "the connections so far end")
        for follower in followers:
            stack.enter_context(Following(follower))
        answer = api.http.get("/v1/keys/self")
        assert "CORSPOLICY_MAX_CONNECTIONS" in problem(answer, 503, "too-many-connections")["detail"]
        assert answer.headers["retry-after"] == "1"
        for path in ("/livez", "/readyz"):
            assert httpx.get(small.url + path).status_code == 200
