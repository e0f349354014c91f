"""ASGI applications under a real uvicorn, in a thread of the test's process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from tests.support import wait_until


@contextlib.contextmanager
def serving(app: Callable[..., Any], **options: Any) -> Iterator[int]:
    """Serve `app` on the loopback interface; gives the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "uvicorn serves")
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"


def exchange(
    port: int, method: str, path: str, headers: list[tuple[bytes, bytes]]
) -> tuple[int, list[tuple[str, str]]]:
    """Send exactly these header lines; returns the status and the header lines of the answer, names lower case."""
    head = [f"{method} {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in headers)]
    if not any(name.lower() == b"host" for name, _ in headers):
        head.append(b"host: localhost")
    head += [b"connection: close", b"", b""]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(head))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    status, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    parted = [line.partition(":") for line in lines]
    return int(status.split()[1]), [(name.lower(), value.strip()) for name, _, value in parted]
