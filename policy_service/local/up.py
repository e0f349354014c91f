"""`corspolicy up`: everything on one machine, in one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import httpx
from alembic.util import CommandError

from policy_service import migrate
from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import ANYTHING
from policy_service.changes.request import ChangeRequest
from policy_service.database import DATABASE_ERRORS, create_engine, create_sessions
from policy_service.errors import Problem
from policy_service.http.connections import PROTOCOL
from policy_service.http.logs import printable, printable_lines
from policy_service.keys import service as keys
from policy_service.local import embedded
from policy_service.local.demo.api import TENANT
from policy_service.local.embedded import EmbeddedError, Family
from policy_service.policies import service as policies
from policy_service.settings import Settings
from policy_service.tenants import service as tenants

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 30.0
PUBLISH_TIMEOUT_SECONDS = 10.0
# Requests have so long when the servers stop; less than a server has in all.
GRACE_SECONDS = 5
_POLL_SECONDS = 0.05


class Ports(NamedTuple):
    """Who listens where: three ports in a row."""

    service: int
    demo_api: int
    demo_page: int

    @classmethod
    def after(cls, first: int) -> Ports:
        return cls(first, first + 1, first + 2)


def up(first_port: int, data: Path, *, demo: bool) -> None:
    """Run PostgreSQL and Redis (unless settings name others), the service and, if wanted, the demo, until a signal.

    Raises EmbeddedError with a message for people, and KeyboardInterrupt for a signal that comes before all runs.
    """
    data = data.resolve()
    ports = Ports.after(first_port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_as_interrupt())
        # What is made here is for this user alone.
        os.umask(0o077)
        family = stack.enter_context(_own(data))
        environment = dict(os.environ)
        _require_own_publisher(environment)
        _require_free([ports.service, *((ports.demo_api, ports.demo_page) if demo else ())])
        if "CORSPOLICY_DATABASE_URL" not in environment:
            print("starting PostgreSQL …", flush=True)
            environment["CORSPOLICY_DATABASE_URL"] = stack.enter_context(embedded.postgres(data / "postgres", family))
        if "CORSPOLICY_REDIS_URL" not in environment:
            print("starting Redis …", flush=True)
            environment["CORSPOLICY_REDIS_URL"] = stack.enter_context(embedded.redis(data / "redis", family))
            _write_secret(data / "redis.url", environment["CORSPOLICY_REDIS_URL"])
        settings = Settings(
            database_url=environment["CORSPOLICY_DATABASE_URL"], redis_url=environment["CORSPOLICY_REDIS_URL"]
        )
        try:
            migrate.upgrade(settings.session_database_url)
            new_key = asyncio.run(_prepare(settings, demo=demo))
        except (*DATABASE_ERRORS, CommandError) as error:
            raise EmbeddedError(f"the database can't be used: {printable_lines(str(error))}") from error
        if new_key is not None:
            _write_secret(data / "admin.key", new_key)
            # For `curl -H @file`: in an argument, every user of the machine would see the key.
            _write_secret(data / "admin.header", f"Authorization: Bearer {new_key}")
        environment["CORSPOLICY_DEMO_API"] = f"http://localhost:{ports.demo_api}"
        _serve({"the service": ("policy_service.app:create_app", ports.service)}, family, environment, stack)
        _wait_until_published(family, ports.service)
        if demo:
            servers = {
                "the demo API": ("policy_service.local.demo.api:create_app", ports.demo_api),
                "the demo page": ("policy_service.local.demo.page:create_app", ports.demo_page),
            }
            _serve(servers, family, environment, stack)
        with contextlib.suppress(KeyboardInterrupt):
            print(_welcome(ports, data, environment, demo=demo), flush=True)
            _watch(family)
        print("\nstopping …", flush=True)


async def _prepare(settings: Settings, *, demo: bool) -> str | None:
    """Make the admin key and the demo's tenant where there are none yet; returns a key just made."""
    engine = create_engine(settings.database_url, is_pooled=settings.is_pooled)
    sessions = create_sessions(engine)
    request = ChangeRequest(Caller("corspolicy up"), ANYTHING)
    try:
        if demo:
            with contextlib.suppress(Problem):
                await tenants.create(sessions, {"tenant": TENANT, "name": "Demo"}, request)
                body = {"allow_methods": ["PUT"], "max_age": 0}
                await policies.put(sessions, TENANT, "default", body, request)
        return await keys.create_first(sessions, settings.key_pepper, request.caller)
    finally:
        await engine.dispose()


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text + "\n")


@contextlib.contextmanager
def _own(data: Path) -> Iterator[Family]:
    """Hold the data folder for this process and those that it starts.

    `lock` is locked by this process alone; `processes` also by those that it starts, and it names them.
    """
    with contextlib.ExitStack() as stack:
        try:
            data.mkdir(parents=True, exist_ok=True)
            lock, processes = (stack.enter_context((data / name).open("a+")) for name in ("lock", "processes"))
        except OSError as error:
            raise EmbeddedError(f"the data folder {data} can't be used: {printable_lines(str(error))}") from error
        if not _try_lock(lock):
            raise EmbeddedError(
                f"corspolicy runs on {data} already (process {_words(lock)}): "
                "stop it, or pass another --data-dir and --port"
            )
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        deadline = time.monotonic() + 2 * embedded.STOP_TIMEOUT_SECONDS
        while not _try_lock(processes):
            # Those of one that was killed are about to end.
            if time.monotonic() > deadline:
                left = _words(processes)
                raise EmbeddedError(f"servers of a killed corspolicy still run on {data}: stop them (kill {left})")
            time.sleep(_POLL_SECONDS)
        processes.truncate(0)
        yield Family(processes)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _words(file: IO[str]) -> str:
    file.seek(0)
    return " ".join(file.read().split())


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or closed terminal raises KeyboardInterrupt; no other interrupts the stopping then."""

    def interrupt(*_: object) -> None:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _require_own_publisher(environment: Mapping[str, str]) -> None:
    if "CORSPOLICY_PUBLISHER_DATABASE_URL" in environment and "CORSPOLICY_DATABASE_URL" not in environment:
        raise EmbeddedError(
            "CORSPOLICY_PUBLISHER_DATABASE_URL is set, and CORSPOLICY_DATABASE_URL is not: set both to the same "
            "database, or neither to run PostgreSQL here"
        )


def _require_free(ports: list[int]) -> None:
    taken = [str(port) for port in ports if not embedded.is_free(port)]
    if taken:
        raise EmbeddedError(f"port {', '.join(taken)} is in use: stop what listens there, or pass another --port")


def _serve(
    servers: dict[str, tuple[str, int]], family: Family, environment: dict[str, str], stack: contextlib.ExitStack
) -> None:
    """Start applications, each on its port, and wait until they listen."""
    for name, (application, port) in servers.items():
        command = [sys.executable, "-m", "uvicorn", application, "--factory", "--log-level", "warning"]
        options = ["--host", HOST, "--port", str(port), "--timeout-graceful-shutdown", str(GRACE_SECONDS)]
        options += ["--http", PROTOCOL]
        stack.enter_context(embedded.running(name, [*command, *options], family, env=environment))
    _wait_until_open(family, [port for _, port in servers.values()])


def _wait_until_published(family: Family, port: int) -> None:
    """Wait until Redis has the policies, unless that takes longer than a healthy start does."""
    deadline = time.monotonic() + PUBLISH_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        _require_running(family)
        with contextlib.suppress(httpx.HTTPError, ValueError):
            state = httpx.get(f"http://{HOST}:{port}/readyz", timeout=PUBLISH_TIMEOUT_SECONDS).json()
            if state["publisher"] == "leading" and state["unpublished"] == 0:
                return
        time.sleep(_POLL_SECONDS)


def _wait_until_open(family: Family, ports: list[int]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not all(map(embedded.is_open, ports)):
        _require_running(family)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"the service did not start within {START_TIMEOUT_SECONDS:.0f} seconds")
        time.sleep(_POLL_SECONDS)


def _watch(family: Family) -> None:
    while True:
        _require_running(family)
        time.sleep(0.5)


def _require_running(family: Family) -> None:
    for name, process in family.processes.items():
        if process.poll() is not None:
            where = f"above, or in a log below {Path(family.lock.name).parent}"
            raise EmbeddedError(f"{name} ended with code {process.returncode}; its output is {where}")


def _welcome(ports: Ports, data: Path, environment: dict[str, str], *, demo: bool) -> str:
    service, api = f"http://localhost:{ports.service}", f"http://localhost:{ports.demo_api}"
    page = f"http://localhost:{ports.demo_page}"
    header = data / "admin.header"
    lines = ["", "corspolicy is running.", ""]
    if header.exists():
        lines += [f"  admin key   in {data / 'admin.key'}   (for curl: -H {shlex.quote(f'@{header}')})"]
    lines += [f"  admin API   {service}   (OpenAPI: {service}/openapi.json)"]
    if demo:
        lines += [f"  demo API    {api}/greeting", f"  demo page   {page}   (open it in a browser)"]
    lines += [f"  Redis       {_redis(data, environment['CORSPOLICY_REDIS_URL'])}", ""]
    if demo:
        preflight = (
            f"curl -si -X OPTIONS {api}/greeting \\\n    -H 'Origin: {page}' -H 'Access-Control-Request-Method: PUT'"
        )
        lines += [
            "Try, in this order:",
            "",
            "  # 1. May the page send a PUT to the API? Not yet: 403.",
            f"  {preflight}",
            "",
            "  # 2. Allow the page's origin.",
            f"  curl -s -X POST {service}/v1/tenants/{TENANT}/policies/default/origins \\",
            f"    -H {shlex.quote(f'@{header}')} \\",
            f'    -d \'{{"pattern": "{page}"}}\'',
            "",
            "  # 3. The same question again: 204.",
            f"  {preflight}",
            "",
        ]
    lines.append("Ctrl-C stops everything; the data stays.")
    return "\n".join(lines)


def _redis(data: Path, url: str) -> str:
    """How other services of this user find Redis; no password."""
    if "CORSPOLICY_REDIS_URL" in os.environ:
        return f"{printable(url)}   (as CORSPOLICY_REDIS_URL says)"
    command = f"export CORSPOLICY_REDIS_URL=$(cat {shlex.quote(str(data / 'redis.url'))})"
    return f"{command}   (for your own services)"
