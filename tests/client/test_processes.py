"""Workers, forks, event loops: each follows the changes, and none hangs when it is to stop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from fastapi import FastAPI

from corspolicy import Policies, install
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.faults.proxy import Proxy
from tests.support import ROOT, Process, free_port, running, wait_until

_FORK = """
import asyncio, os, sys, threading, time
from corspolicy import Policies
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.faults.proxy import Proxy

published = Published(sys.argv[1])
policies = Policies(sys.argv[1])
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
follower = Follower(policies)
assert asyncio.run_coroutine_threadsafe(follower.allows("acme", A), loop).result(20)
child = os.fork()
if child == 0:
    async def follow():
        assert await follower.allows("acme", A)
        published.publish("acme", 2, B)
        await follower.until_denies("acme", A)
        await policies.stop()
    asyncio.run(follow())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run_coroutine_threadsafe(follower.until_denies("acme", A), loop).result(20)
"""


@pytest.fixture
def published(redis_url: str) -> Published:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    return published


def _granted_by_process(server: Process, origin: str, processes: int) -> dict[int, bool]:
    """Ask until so many processes have answered; what each granted last.

    A worker that ends breaks the connections that it has accepted: such a request is asked again.
    """
    granted: dict[int, bool] = {}

    def ask() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{server.url}/t/acme", headers={"Origin": origin})
            granted[answer.json()] = "access-control-allow-origin" in answer.headers
        return len(granted) >= processes

    wait_until(ask, f"{processes} processes answer")
    return granted


@pytest.mark.parametrize("options", [("--workers", "2"), ("--lifespan", "off")], ids=["workers", "without lifespan"])
def test_every_worker_follows_and_stops(published: Published, redis_url: str, options: tuple[str, str]) -> None:
    environment = {"CORSPOLICY_REDIS_URL": redis_url, "TEST_TENANT_FROM": "path"}
    workers = 2 if options[0] == "--workers" else 1
    with running("tests.chain.apps:billing", environment, "/livez", *options) as server:
        assert all(_granted_by_process(server, A, workers).values())
        published.publish("acme", 2, B)
        wait_until(lambda: not any(_granted_by_process(server, A, workers).values()), "all deny it")
        assert all(_granted_by_process(server, B, workers).values())


class Gunicorn(Process):
    """Two workers, forked from a process that has loaded the application already."""

    def _server(self, application: str, port: int) -> list[str]:
        workers = ["--workers", "2", "--worker-class", "uvicorn_worker.UvicornWorker"]
        return ["gunicorn", f"{application}()", "--preload", "--bind", f"127.0.0.1:{port}", *workers]


def test_workers_of_a_preloaded_application_follow_as_do_those_in_their_place(
    published: Published, redis_url: str
) -> None:
    environment = {"CORSPOLICY_REDIS_URL": redis_url, "TEST_TENANT_FROM": "path"}
    server = Gunicorn("tests.chain.apps:billing", free_port(), environment)
    try:
        server.wait_until_answering()
        workers = _granted_by_process(server, A, 2)
        assert all(workers.values())
        published.publish("acme", 2, B)
        wait_until(lambda: not any(_granted_by_process(server, A, 2).values()), "all deny it")
        os.kill(min(workers), signal.SIGKILL)
        wait_until(lambda: min(workers) not in _granted_by_process(server, B, 2), "another takes its place")
        assert all(_granted_by_process(server, B, 2).values())
        published.publish("acme", 3, A)
        wait_until(lambda: all(_granted_by_process(server, A, 2).values()), "all allow it again")
    finally:
        server.stop()


def test_a_reloaded_worker_follows_and_the_one_before_ends(
    published: Published, redis_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "reloaded.py"
    source.write_text("from tests.chain.apps import billing\n")
    environment = {"CORSPOLICY_REDIS_URL": redis_url, "TEST_TENANT_FROM": "path"}
    options = ("--app-dir", str(tmp_path), "--reload", "--reload-dir", str(tmp_path))
    with running("reloaded:billing", environment, "/livez", *options) as server:
        ((first, is_granted),) = _granted_by_process(server, A, 1).items()
        assert is_granted
        source.write_text("from tests.chain.apps import billing  # changed\n")
        wait_until(lambda: first not in _granted_by_process(server, A, 1), "another worker answers")
        assert not psutil.pid_exists(first)
        published.publish("acme", 2, B)
        wait_until(lambda: not any(_granted_by_process(server, A, 1).values()), "it denies it")


def test_a_fork_after_the_start_follows_on_its_own_and_leaves_the_parent_alone(
    published: Published, redis_url: str
) -> None:
    command = [sys.executable, "-c", _FORK, redis_url]
    done = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_event_loops_of_one_process_follow_each_on_its_own(published: Published, redis_url: str) -> None:
    policies = Policies(redis_url)
    failures: list[BaseException] = []
    both_hold_it = threading.Barrier(3, timeout=20)

    async def follow() -> None:
        follower = Follower(policies)
        assert await follower.allows("acme", A)
        await asyncio.to_thread(both_hold_it.wait)
        await follower.until_denies("acme", A)
        await policies.stop()

    def run() -> None:
        try:
            asyncio.run(follow())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    both_hold_it.wait()
    published.publish("acme", 2, B)
    for thread in threads:
        thread.join(20)
    assert failures == []


def test_middlewares_of_a_process_share_one_connection(
    published: Published, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORSPOLICY_REDIS_URL", redis_url)
    first = install(FastAPI(), service="a", tenant="acme")
    second = install(FastAPI(), service="b", tenant="acme")
    assert first is second

    def count() -> int:
        return len(_followers(published))

    wait_until(lambda: count() == 0, "connections of earlier tests are closed")

    async def start_twice() -> int:
        await first.start()
        await second.start()
        connections = count()
        await first.stop()
        assert await Follower(first).allows("acme", A)
        await second.stop()
        return connections

    assert asyncio.run(start_twice()) == 1


PAUSED_SECONDS = 4.0


def _followers(published: Published) -> list[dict[str, str]]:
    """The connections that follow what is published: they are named as the process's report."""
    prefix = published.keys.report("")
    return [client for client in published.redis.client_list() if client["name"].startswith(prefix)]


def _waits_for_changes(published: Published) -> bool:
    (client,) = _followers(published)
    return "b" in client["flags"]


def _is_allowed(connection: http.client.HTTPConnection, origin: str) -> bool:
    connection.request("GET", "/t/acme", headers={"Origin": origin})
    return _answer_allows(connection)


def _answer_allows(connection: http.client.HTTPConnection) -> bool:
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return answer.headers["access-control-allow-origin"] is not None


def test_after_a_pause_no_request_is_allowed_by_policies_that_are_too_old(published: Published, redis_url: str) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])))
        proxy.slow_down(0.2)
        options = {"redis_url": proxy.url, "max_stale": 3.5}
        environment = {"TEST_POLICIES": json.dumps(options), "TEST_TENANT_FROM": "path"}
        server = stack.enter_context(running("tests.chain.apps:billing", environment))
        # Kept open: what they send is what the process sees first when it wakes.
        waiting = [http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20) for _ in range(50)]
        for connection in waiting:
            stack.callback(connection.close)
            wait_until(lambda connection=connection: _is_allowed(connection, A), "it allows A")  # type: ignore[misc]
        wait_until(lambda: _waits_for_changes(published), "the process waits for changes")
        server.signal(signal.SIGSTOP)
        # The first is on its way into the process while it is paused, which says nothing of the second.
        published.publish("acme", 2, A)
        wait_until(lambda: not _waits_for_changes(published), "Redis has answered the process")
        published.publish("acme", 3, B)
        for connection in waiting:
            connection.request("GET", "/t/acme", headers={"Origin": A})
        # The fault's duration: longer than max_stale.
        time.sleep(PAUSED_SECONDS)
        server.signal(signal.SIGCONT)
        assert not any(list(map(_answer_allows, waiting)))

        def applies_the_second() -> bool:
            assert not _is_allowed(waiting[0], A)
            return _is_allowed(waiting[0], B)

        wait_until(applies_the_second, "it applies what is current")


def test_a_process_that_is_asked_to_end_is_forgotten_at_once_and_one_that_is_killed_is_not(
    published: Published, redis_url: str
) -> None:
    environment = {"CORSPOLICY_REDIS_URL": redis_url, "TEST_TENANT_FROM": "path"}

    def reported() -> int:
        found = (report for report in published.redis.mget(published.redis.keys(published.keys.report("*")) or "-"))
        return sum(report is not None for report in found)

    with running("tests.chain.apps:billing", environment) as stopped:
        with running("tests.chain.apps:billing", environment) as killed:
            wait_until(lambda: reported() == 2, "both have reported")
            killed.kill()
        assert reported() == 2
        stopped.stop()
        assert (reported(), published.redis.zcard(published.keys.processes)) == (1, 1)


def test_a_loop_that_ends_without_a_stop_does_not_hang(published: Published, redis_url: str) -> None:
    policies = Policies(redis_url)
    started = time.monotonic()
    for _ in range(5):
        assert asyncio.run(Follower(policies).allows("acme", A))
    assert time.monotonic() - started < 10
