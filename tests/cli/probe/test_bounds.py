"""`corspolicy probe` against what does not answer, or never ends."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from typing import Any

import pytest
from click.testing import CliRunner

from policy_service.cli.main import main
from policy_service.cli.probe import sending
from tests.cli.probe.probing import probe
from tests.support import free_port, wait_until


def test_no_response() -> None:
    result = probe(free_port())
    assert result.exit_code == 1
    assert "GET http://127.0.0.1:" in result.stderr
    result = CliRunner().invoke(main, ["probe", "http://nowhere.invalid/", "--origin", "http://a.example"])
    assert result.exit_code == 1


class _Raw(socketserver.ThreadingTCPServer):
    """A server that sends `start`, then `more` until nobody reads any longer; `sent` counts its bytes."""

    daemon_threads = True

    def __init__(self, start: bytes, more: bytes, pause: float) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.port = self.server_address[1]
        self.sent = 0
        self.connections = 0
        self._texts = start, more, pause

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        start, more, pause = self._texts
        self.connections += 1
        with request, contextlib.suppress(OSError):
            request.sendall(start)
            while True:
                time.sleep(pause)
                request.sendall(more)
                self.sent += len(more)
        self.connections -= 1


@pytest.mark.parametrize(
    ("start", "more", "pause", "code", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n\r\n", b"x" * 65536, 0.0, 0, "allowed"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Many: " + b"x" * 1000 + b"\r\n", 0.0, 1, "GET http://127.0.0.1"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", 0.05, 1, "no response within"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01, 1, "no response within"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", b"x", 0.05, 1, "GET http://127.0.0.1"),
    ],
)
def test_time_and_bytes_are_bounded(
    monkeypatch: pytest.MonkeyPatch, start: bytes, more: bytes, pause: float, code: int, says: str
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_SECONDS", 1.0)
    with _Raw(start, more, pause) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        result = probe(server.port)
        # The connection is closed, however much is still to come.
        wait_until(lambda: server.connections == 0, "the connections are closed")
        server.shutdown()
        thread.join()
    assert (result.exit_code, says in result.output) == (code, True), result.output
    # What fits into the buffers of two connections is sent at most.
    assert server.sent < 20_000_000
