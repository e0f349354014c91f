"""What tests share: processes, ports, waiting for a condition, plain HTTP."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from policy_service.cli.probe.judge import Page
from policy_service.cli.probe.sending import browse
from policy_service.local.embedded import ending_with_parent, is_free
from tests.redis_users import as_user

ROOT = Path(__file__).parent.parent
WAIT_SECONDS = 20.0

T = TypeVar("T")


def free_port(count: int = 1) -> int:
    """The first of `count` loopback ports in a row that nothing listens on, outside the range for outgoing connections.

    A port of that range could be taken by anybody's connection before the server that it is for listens on it.
    """

    def free() -> int:
        first = random.randrange(10_000, 32_000)
        return first if all(is_free(first + offset) for offset in range(count)) else 0

    return wait_until(free, "free ports")


def wait_until(condition: Callable[[], T], what: str, seconds: float = WAIT_SECONDS) -> T:
    """The first true value of `condition`; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        time.sleep(0.005)


class Process:
    """A server process of the test's own. It connects to Redis as the user that `corspolicy redis-acl` makes for it."""

    def __init__(self, application: str, port: int, environment: dict[str, str], *options: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = environment
        self._application = application
        command = [*self._server(application, port), *options, "--log-level", "warning"]
        self._command = [sys.executable, "-m", *command]
        self.start()

    def start(self) -> None:
        """Start it, again after it has ended; it may not answer yet."""
        environment = {**os.environ, **self.environment}
        if (url := environment.get("CORSPOLICY_REDIS_URL")) and "CORSPOLICY_NAMESPACE" not in self.environment:
            user = "service" if "policy_service" in self._application else "client"
            environment["CORSPOLICY_REDIS_URL"] = as_user(url, user)
        self._process = subprocess.Popen(
            self._command,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=ending_with_parent(signal.SIGKILL),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _server(self, application: str, port: int) -> list[str]:
        return ["uvicorn", application, "--factory", "--port", str(port)]

    def wait_until_answering(self, path: str = "/livez") -> None:
        """Return when the server answers at `path`."""

        def answers() -> bool:
            assert self._process.poll() is None, "the server ended"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(self.url + path).status_code < 500
            return False

        wait_until(answers, f"{self.url} answers")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its workers."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end; fails the test if it does not within ten seconds."""
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("the server did not stop when asked to") from None


@contextlib.contextmanager
def running(application: str, environment: dict[str, str], path: str = "/livez", *options: str) -> Iterator[Process]:
    """Run an application under uvicorn in a process of its own."""
    process = Process(application, free_port(), environment, *options)
    try:
        process.wait_until_answering(path)
        yield process
    finally:
        process.stop()


class Api:
    """The admin API, as an administrator calls it."""

    def __init__(self, url: str, key: str) -> None:
        # A connection for each request: threads that share kept ones now and then close each other's.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10, limits=limits)

    def new_tenant(self, prefix: str = "t") -> str:
        """Create a tenant of a fresh name."""
        tenant = f"{prefix}-{secrets.token_hex(5)}"
        assert self.http.post("/v1/tenants", json={"tenant": tenant}).status_code == 201
        return tenant

    def delete_tenant(self, tenant: str) -> None:
        """Delete a tenant, whatever it has."""
        answer = self.http.delete(f"/v1/tenants/{tenant}", headers={"If-Match": "*"}, params={"confirm": "true"})
        assert answer.status_code == 204, answer.text

    def put_policy(self, tenant: str, values: dict[str, Any], service: str = "default") -> httpx.Response:
        """Write a policy, whatever is there."""
        path = f"/v1/tenants/{tenant}/policies/{service}"
        return self.http.put(path, json=values, headers={"If-Match": "*"}, params={"confirm": "true"})

    def allow(self, tenant: str, pattern: str, service: str = "default") -> dict[str, Any]:
        """Admit an origin; returns the entry."""
        answer = self.http.post(f"/v1/tenants/{tenant}/policies/{service}/origins", json={"pattern": pattern})
        assert answer.status_code in (200, 201), answer.text
        entry: dict[str, Any] = answer.json()
        return entry

    def remove(self, tenant: str, entry: str, service: str = "default") -> None:
        """Take an origin back."""
        path = f"/v1/tenants/{tenant}/policies/{service}/origins/{entry}"
        answer = self.http.delete(path, params={"confirm": "true"})
        assert answer.status_code == 204, answer.text


def may_read(url: str, origin: str) -> bool:
    """Whether a browser lets a page from `origin` read what a GET of `url` gives."""
    return browse(Page(url, origin)).allowed
