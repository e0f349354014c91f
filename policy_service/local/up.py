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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alembic.util import CommandError

from policy_service import migrate
from policy_service.auth.callers import Caller
from policy_service.changes.preconditions import ANYTHING
from policy_service.changes.request import ChangeRequest
from policy_service.database import DATABASE_ERRORS, create_engine, create_sessions
from policy_service.errors import Problem
from policy_service.keys import service as keys
from policy_service.local import embedded
from policy_service.local.demo.api import TENANT
from policy_service.local.embedded import EmbeddedError, Family
from policy_service.policies import service as policies
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
    """Run PostgreSQL and Redis (unless settings name others), the service and, if wanted, the demo, until a signal.

    Raises EmbeddedError with a message for people, and KeyboardInterrupt for a signal that comes before all runs.
    """
    data = data.resolve()
    ports = Ports.after(first_port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_as_interrupt())
        family = stack.enter_context(_own(data))
        environment = dict(os.environ)
        needed = [ports.service, *((ports.demo_api, ports.demo_page) if demo else ())]
        if "CORSPOLICY_REDIS_URL" not in environment:
            needed.append(ports.redis)
        _require_free(needed)
        if "CORSPOLICY_DATABASE_URL" not in environment:
            print("starting PostgreSQL …", flush=True)
            environment["CORSPOLICY_DATABASE_URL"] = stack.enter_context(embedded.postgres(data / "postgres", family))
        if "CORSPOLICY_REDIS_URL" not in environment:
            print("starting Redis …", flush=True)
            environment["CORSPOLICY_REDIS_URL"] = stack.enter_context(
                embedded.redis(data / "redis", ports.redis, family)
            )
        settings = Settings(
            database_url=environment["CORSPOLICY_DATABASE_URL"], redis_url=environment["CORSPOLICY_REDIS_URL"]
        )
        try:
            migrate.upgrade(settings.database_url)
            new_key = asyncio.run(_prepare(settings, demo=demo))
        except (*DATABASE_ERRORS, CommandError) as error:
            raise EmbeddedError(f"the database can't be used: {error}") from error
        if new_key is not None:
            _write_secret(data / "admin.key", new_key)
        environment["CORSPOLICY_DEMO_API"] = f"http://localhost:{ports.demo_api}"
        servers = {"the service": ("policy_service.app:create_app", ports.service)}
        if demo:
            servers["the demo API"] = ("policy_service.local.demo.api:create_app", ports.demo_api)
            servers["the demo page"] = ("policy_service.local.demo.page:create_app", ports.demo_page)
        for name, (application, port) in servers.items():
            command = [sys.executable, "-m", "uvicorn", application, "--factory", "--log-level", "warning"]
            options = ["--host", HOST, "--port", str(port)]
            stack.enter_context(embedded.running(name, [*command, *options], family, env=environment))
        _wait_until_open(family, [port for _, port in servers.values()])
        with contextlib.suppress(KeyboardInterrupt):
            print(_welcome(ports, data, environment, new_key, demo=demo), flush=True)
            _watch(family)
        print("\nstopping …", flush=True)


async def _prepare(settings: Settings, *, demo: bool) -> str | None:
    """Make the admin key and the demo's tenant where there are none yet; returns a key just made."""
    engine = create_engine(settings.database_url)
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
    """Hold the data folder for this process and those that it starts; the lock file names them."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(f"the data folder {data} can't be used: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            processes = " ".join((data / "lock").read_text().split())
            raise EmbeddedError(
                f"corspolicy, or what is left of one that was killed, runs on {data}: "
                f"stop it (kill {processes}), or pass another --data-dir and --port"
            ) from error
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield Family(lock)


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


def _require_free(ports: list[int]) -> None:
    taken = [str(port) for port in ports if not embedded.is_free(port)]
    if taken:
        raise EmbeddedError(f"port {', '.join(taken)} is in use: stop what listens there, or pass another --port")


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


def _welcome(ports: Ports, data: Path, environment: dict[str, str], new_key: str | None, *, demo: bool) -> str:
    service, api = f"http://localhost:{ports.service}", f"http://localhost:{ports.demo_api}"
    page = f"http://localhost:{ports.demo_page}"
    redis_url = _without_password(environment["CORSPOLICY_REDIS_URL"])
    lines = ["", "corspolicy is running.", ""]
    if new_key is not None:
        lines += [f"  admin key   {new_key}", f"              shown only now, stored in {data / 'admin.key'}", ""]
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
            "  # 2. Allow the page's origin.",
            f"  curl -s -X POST {service}/v1/tenants/{TENANT}/policies/default/origins \\",
            f'    -H "Authorization: Bearer $(cat {shlex.quote(str(data / "admin.key"))})" \\',
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
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
