"""`corspolicy up`: everything on one machine, in one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from policy_service import embedded, migrate
from policy_service.database import create_engine, create_sessions
from policy_service.demo.api import TENANT
from policy_service.embedded import EmbeddedError
from policy_service.keys import service as keys
from policy_service.policies import service as policies
from policy_service.problems import Problem
from policy_service.requests import Precondition
from policy_service.settings import Settings
from policy_service.tenants import service as tenants

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.05


class Ports(NamedTuple):
    """Who listens where: four ports in a row."""

    service: int
    demo_api: int
    demo_page: int
    redis: int

    @classmethod
    def after(cls, first: int) -> Ports:
        return cls(first, first + 1, first + 2, first + 3)


def up(first_port: int, data: Path, *, demo: bool) -> None:
    """Run PostgreSQL and Redis (unless settings name others), the service and, if asked, the demo; until a signal.

    Raises EmbeddedError with a message for people.
    """
    ports = Ports.after(first_port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_as_interrupt())
        stack.enter_context(_own(data))
        environment = dict(os.environ)
        needed = [ports.service, *((ports.demo_api, ports.demo_page) if demo else ())]
        if "CORSPOLICY_REDIS_URL" not in environment:
            needed.append(ports.redis)
        _require_free(needed)
        if "CORSPOLICY_DATABASE_URL" not in environment:
            print("starting PostgreSQL …", flush=True)
            environment["CORSPOLICY_DATABASE_URL"] = stack.enter_context(embedded.postgres(data / "postgres"))
        if "CORSPOLICY_REDIS_URL" not in environment:
            print("starting Redis …", flush=True)
            environment["CORSPOLICY_REDIS_URL"] = stack.enter_context(embedded.redis(data / "redis", ports.redis))
        settings = Settings(
            database_url=environment["CORSPOLICY_DATABASE_URL"], redis_url=environment["CORSPOLICY_REDIS_URL"]
        )
        migrate.upgrade(settings.database_url)
        new_key = asyncio.run(_prepare(settings, demo=demo))
        if new_key is not None:
            _write_secret(data / "admin.key", new_key)
        environment["CORSPOLICY_DEMO_API"] = f"http://localhost:{ports.demo_api}"
        servers = {"service": ("policy_service.app:create_app", ports.service)}
        if demo:
            servers["demo API"] = ("policy_service.demo.api:create_app", ports.demo_api)
            servers["demo page"] = ("policy_service.demo.page:create_app", ports.demo_page)
        processes = {
            name: stack.enter_context(_server(application, port, environment))
            for name, (application, port) in servers.items()
        }
        _wait_until_open(processes, [port for _, port in servers.values()])
        print(_welcome(ports, data, environment, new_key, demo=demo), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            _watch(processes)
        print("\nstopping …", flush=True)


async def _prepare(settings: Settings, *, demo: bool) -> str | None:
    """Make the admin key and the demo's tenant where there are none yet; returns a key just made."""
    engine = create_engine(settings.database_url)
    sessions = create_sessions(engine)
    try:
        if demo:
            with contextlib.suppress(Problem):
                await tenants.create(sessions, {"tenant": TENANT, "name": "Demo"}, "corspolicy up")
                body = {"allow_methods": ["PUT"], "max_age": 0}
                await policies.put(sessions, TENANT, "default", body, Precondition("*"), "corspolicy up")
        return await keys.create_first(sessions, "made by corspolicy up")
    finally:
        await engine.dispose()


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text + "\n")


@contextlib.contextmanager
def _own(data: Path) -> Iterator[None]:
    """Hold the data folder for this process alone."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise EmbeddedError(f"the data folder {data} can't be used: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"corspolicy already runs on {data}: stop it, or pass another --data-dir and --port"
            raise EmbeddedError(message) from error
        yield


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C; while everything is being stopped, neither interrupts that."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _server(application: str, port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "uvicorn", application, "--factory", "--host", HOST, "--port", str(port)]
    # A session of its own: Ctrl-C reaches this process only, which then stops the others in order.
    process = subprocess.Popen(
        [*command, "--log-level", "warning"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        embedded.stop(process)


def _require_free(ports: list[int]) -> None:
    taken = [str(port) for port in ports if not embedded.is_free(port)]
    if taken:
        raise EmbeddedError(f"port {', '.join(taken)} is in use: stop what listens there, or pass another --port")


def _wait_until_open(processes: dict[str, subprocess.Popen[bytes]], ports: list[int]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not all(map(embedded.is_open, ports)):
        _require_running(processes)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"the service did not start within {START_TIMEOUT_SECONDS:.0f} seconds")
        time.sleep(_POLL_SECONDS)


def _watch(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        _require_running(processes)
        time.sleep(0.5)


def _require_running(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise EmbeddedError(f"the {name} ended with code {process.returncode}; its output is above")


def _welcome(ports: Ports, data: Path, environment: dict[str, str], new_key: str | None, *, demo: bool) -> str:
    service, api = f"http://localhost:{ports.service}", f"http://localhost:{ports.demo_api}"
    page = f"http://localhost:{ports.demo_page}"
    redis_url = _without_password(environment["CORSPOLICY_REDIS_URL"])
    lines = ["", "corspolicy is running.", ""]
    if new_key is not None:
        lines += [f"  admin key   {new_key}", f"              shown this once, kept in {data / 'admin.key'}", ""]
    lines += [f"  admin API   {service}   (OpenAPI: {service}/openapi.json)"]
    if demo:
        lines += [f"  demo API    {api}/greeting", f"  demo page   {page}   (open it in a browser)"]
    lines += [
        f"  Redis       {redis_url}   (CORSPOLICY_REDIS_URL of your own services)",
        "",
    ]
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
            "  # 2. Admit the page's origin.",
            f"  curl -s -X POST {service}/v1/tenants/{TENANT}/policies/default/origins \\",
            f'    -H "Authorization: Bearer $(cat {data / "admin.key"})" \\',
            f'    -d \'{{"pattern": "{page}"}}\'',
            "",
            "  # 3. The same question again: 204.",
            f"  {preflight}",
            "",
        ]
    lines.append("Ctrl-C stops everything; the data stays.")
    return "\n".join(lines)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
