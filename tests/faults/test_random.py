"""One random run: writes and faults drawn from a seed, while every client is asked for headers all the time.

Every round ends with everything healed. Then every client has to hold just what is committed, and until the next round
ends so, it may admit that and what is written from then on, and nothing else: an origin whose removal was reported
enforced everywhere never comes back.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.faults.line import Line
from tests.faults.proxy import BOTH, Proxy, Way
from tests.faults.watch import Book, Client, Watcher
from tests.keys import CHANGES, DOCUMENTS
from tests.support import Api, Process, free_port, wait_until

# No round begins later than this after the first; each takes some seconds.
SECONDS = 22.0
MAX_ROUNDS = 12
SETTLED_WITHIN_SECONDS = 30.0
TENANTS = {tenant: [f"https://{number}.{tenant}.example" for number in range(5)] for tenant in ("ash", "elm", "oak")}

LINE_FAULTS = ("cut", "silent", "requests lost", "answers lost", "half-open", "slow", "reset")
REDIS_FAULTS = (
    "emptied",
    "killed",
    "killed and emptied",
    "paused",
    "stream cut",
    "stream shortened",
    "entries repeated",
)
PROCESS_FAULTS = ("killed", "paused")
# What breaks, which of them, how, and how likely in a round.
FAULTS: list[tuple[str, int, tuple[str, ...], float]] = [
    *(("line of client", number, LINE_FAULTS, 0.5) for number in range(3)),
    ("line of service", 0, LINE_FAULTS, 0.3),
    ("Redis", 0, REDIS_FAULTS, 0.7),
    ("PostgreSQL", 0, ("connections ended",), 0.2),
    *(("service", number, PROCESS_FAULTS, 0.2) for number in range(2)),
    *(("client", number, PROCESS_FAULTS, 0.2) for number in range(4)),
]
CONFIRM = {"confirm": "true"}
WRITES = {"put": 4, "add": 4, "remove": 4, "delete": 1}


class Write(NamedTuple):
    kind: str
    tenant: str
    origins: tuple[str, ...]
    service: int
    pause: float


class Fault(NamedTuple):
    part: str
    number: int
    kind: str
    pause: float


class Round(NamedTuple):
    writes: list[Write]
    faults: list[Fault]
    is_reset: bool


def plan(seed: int) -> Iterator[Round]:
    """The rounds of a run: the same for the same seed."""
    draw = random.Random(seed)
    deleted: set[str] = set()
    while True:
        writes = []
        for _ in range(draw.randint(6, 16)):
            tenant = draw.choice(list(TENANTS))
            kind = "create" if tenant in deleted else draw.choices(list(WRITES), list(WRITES.values()))[0]
            deleted.discard(tenant)
            if kind == "delete":
                deleted.add(tenant)
            count = {"put": draw.randint(1, 4), "add": 1, "remove": 1}.get(kind, 0)
            origins = tuple(draw.sample(TENANTS[tenant], count))
            writes.append(Write(kind, tenant, origins, draw.randrange(2), draw.uniform(0, 0.2)))
        faults = [
            Fault(part, number, draw.choice(kinds), draw.uniform(0.1, 0.7))
            for part, number, kinds, chance in FAULTS
            if draw.random() < chance
        ]
        draw.shuffle(faults)
        yield Round(writes, faults, draw.random() < 0.5)


class Run:
    """The line with more clients and services, and what happens to them."""

    def __init__(self, line: Line, stack: ExitStack, folder: Path) -> None:
        self._line = line
        self._begin = time.monotonic()
        self._proxies = [line.proxy, *(stack.enter_context(Proxy(line.redis.port)) for _ in range(2))]
        with_file = self._start_client(stack, self._proxies[1], snapshot_path=str(folder / "last-good"))
        with_few = self._start_client(stack, self._proxies[2], capacity=1)
        self._services = [(line.service, line.api), line.start_service(line.redis.url)]
        self._clients = [
            Client("near", line.near),
            Client("far", line.far),
            Client("with a file", with_file, has_file=True),
            Client("with room for one", with_few, holds_all=False),
        ]
        self._book = Book(TENANTS)
        self._watchers = [Watcher(client, self._book, TENANTS, self.log) for client in self._clients]
        self._keep_everything()

    def _start_client(self, stack: ExitStack, proxy: Proxy, **options: object) -> Process:
        environment = {"TEST_TENANT_FROM": "path", "TEST_POLICIES": json.dumps(options)}
        environment["CORSPOLICY_REDIS_URL"] = proxy.url
        process = Process("tests.chain.apps:billing", free_port(), environment)
        stack.callback(process.stop)
        return process

    def log(self, text: str) -> None:
        """Part of the history that a failure shows."""
        print(f"{time.monotonic() - self._begin:7.2f} s  {text}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Begin with tenants that admit something, and ask every client all the while."""
        for tenant, origins in TENANTS.items():
            for kind in ("create", "put"):
                self._write(Write(kind, tenant, tuple(origins[:3]), 0, 0))
        self._settle()
        for watcher in self._watchers:
            watcher.start()
        try:
            yield
        finally:
            for watcher in self._watchers:
                watcher.end()
        for watcher in self._watchers:
            assert min(watcher.answers.values()) > 0, f"{watcher.name}: {watcher.answers}"

    def round(self, round_: Round) -> None:
        """Write and break things at the same time, heal them, and compare every client with the truth."""
        errors: list[BaseException] = []

        def write() -> None:
            try:
                for write in round_.writes:
                    self._write(write)
            except BaseException as error:
                errors.append(error)

        writer = threading.Thread(target=write, name="writes")
        writer.start()
        try:
            with ExitStack() as faults:
                for fault in round_.faults:
                    self.log(f"fault: {fault.part} {fault.number}: {fault.kind}")
                    faults.enter_context(self._broken(fault))
                    time.sleep(fault.pause)
            self.log("healed" + " and reset" * round_.is_reset)
            if round_.is_reset:
                # Nothing is left half-open, for a client to find in its own time.
                for proxy in (*self._proxies, self._line.service_proxy):
                    proxy.reset()
        finally:
            writer.join()
        assert not errors, errors
        self._settle()
        violations = [violation for watcher in self._watchers for violation in watcher.violations]
        assert not violations, violations

    def _write(self, write: Write) -> None:
        api = self._services[write.service][1]
        others = set(TENANTS[write.tenant]) - set(write.origins)
        refuses = {"put": others, "remove": set(write.origins), "delete": set(TENANTS[write.tenant])}
        admits = write.origins if write.kind in ("put", "add") else ()
        self._book.write(write.tenant, admits=admits, refuses=refuses.get(write.kind, ()))
        try:
            status: int | str = self._send(api, write)
            # Another write, sent before, may have failed: then the tenant is missing, or is still there.
            assert status in (200, 201, 204, 404, 503) or (write.kind, status) == ("create", 409), (write, status)
        except httpx.TransportError as error:
            status = type(error).__name__
        self.log(f"{write.kind} {write.tenant} {' '.join(write.origins)}: {status}")
        time.sleep(write.pause)

    def _send(self, api: Api, write: Write) -> int:
        tenant = f"/v1/tenants/{write.tenant}"
        entries = f"{tenant}/policies/default/origins"
        if write.kind == "create":
            return api.http.post("/v1/tenants", json={"tenant": write.tenant}).status_code
        if write.kind == "delete":
            return api.http.delete(tenant, headers={"If-Match": "*"}, params=CONFIRM).status_code
        if write.kind == "put":
            return api.put_policy(write.tenant, {"allow_origins": write.origins}).status_code
        if write.kind == "add":
            return api.http.post(entries, json={"pattern": write.origins[0]}).status_code
        answer = api.http.get(entries)
        for entry in answer.json()["items"] if answer.status_code == 200 else ():
            if entry["pattern"] == write.origins[0]:
                answer = api.http.delete(f"{entries}/{entry['id']}", params=CONFIRM)
        return answer.status_code

    def _broken(self, fault: Fault) -> contextlib.AbstractContextManager[None]:
        if fault.part == "line of client":
            return _broken_line(self._proxies[fault.number], fault.kind)
        if fault.part == "line of service":
            return _broken_line(self._line.service_proxy, fault.kind)
        if fault.part == "service":
            return _broken_process(self._services[fault.number][0], fault.kind)
        if fault.part == "client":
            client = self._clients[fault.number]
            if fault.kind == "killed":
                client.started = self._book[next(iter(TENANTS))].settled
            return _broken_process(client.process, fault.kind)
        if fault.part == "Redis":
            return self._broken_redis(fault.kind)
        return self._ended_connections()

    @contextlib.contextmanager
    def _ended_connections(self) -> Iterator[None]:
        with self._line.sql() as sql:
            sql.terminate("true")
        yield

    @contextlib.contextmanager
    def _broken_redis(self, kind: str) -> Iterator[None]:
        client: Any = self._line.published.redis
        if kind.startswith("killed"):
            self._line.redis.kill()
            yield
            self._line.redis.start(empty=kind == "killed and emptied")
            self._keep_everything()
        elif kind == "paused":
            with self._line.redis.paused():
                yield
        elif kind.startswith("stream"):
            yield
            client.xtrim(CHANGES, maxlen=0 if kind == "stream cut" else 1, approximate=False)
        else:
            if kind == "emptied":
                client.flushall()
            else:
                for tenant, envelope in client.hgetall(DOCUMENTS).items():
                    client.xadd(CHANGES, {"tenant": tenant, "envelope": envelope, "previous": "0-0"})
            yield

    def _keep_everything(self) -> None:
        """Redis loses nothing that it has answered; by default it may lose a second, when it is killed.

        A client that starts then would start with an older truth, until the publisher has seen it and written
        everything anew.
        """
        client: Any = self._line.published.redis
        client.config_set("appendfsync", "always")

    def _settle(self) -> None:
        """Return when every client is known to hold what is committed."""
        for process in (*(service for service, _ in self._services), *(client.process for client in self._clients)):
            process.wait_until_answering()
        self._line.measure("random faults, with random writes", self._is_current, SETTLED_WITHIN_SECONDS)
        truth = {tenant: self._admitted(tenant) for tenant in TENANTS}
        self.log(f"settled: {' '.join(origin for admitted in truth.values() for origin in sorted(admitted))}")
        for client in self._clients:
            wait_until(partial(self._shows, client, truth), f"{client.name} grants just what is committed")
        self._book.settle(truth)

    def _is_current(self) -> bool:
        answer = self._line.api.http.get("/v1/fleet")
        if answer.status_code != 200:
            return False
        states = {process["process"]: process["state"] for process in answer.json()["processes"]}
        return all(states.get(client.process.pid) == "current" for client in self._clients)

    def _admitted(self, tenant: str) -> frozenset[str]:
        """What the service says that the tenant admits."""
        answer = self._line.api.http.get(f"/v1/tenants/{tenant}/policies/default")
        if answer.status_code == 404:
            return frozenset()
        return frozenset(entry["pattern"] for entry in answer.json()["allow_origins"])

    def _shows(self, client: Client, truth: dict[str, frozenset[str]]) -> bool:
        return all(
            self._line.granted(client.process, tenant, origin) == (origin in truth[tenant])
            for tenant, origins in TENANTS.items()
            for origin in origins
        )


@contextlib.contextmanager
def _broken_line(proxy: Proxy, kind: str) -> Iterator[None]:
    do: dict[str, Callable[[], None]] = {
        "cut": proxy.cut,
        "silent": partial(proxy.silence, *BOTH),
        "requests lost": partial(proxy.silence, Way.UP),
        "answers lost": partial(proxy.silence, Way.DOWN),
        "half-open": partial(proxy.silence, *BOTH, new=False),
        "slow": partial(proxy.slow_down, 0.2),
        "reset": proxy.reset,
    }
    do[kind]()
    yield
    proxy.heal()


@contextlib.contextmanager
def _broken_process(process: Process, kind: str) -> Iterator[None]:
    if kind == "killed":
        process.kill()
        yield
        process.start()
    else:
        process.signal(signal.SIGSTOP)
        yield
        process.signal(signal.SIGCONT)


def test_random_writes_and_faults(line: Line, seed: int, tmp_path: Path) -> None:
    print(f"The plan of this run comes from the seed {seed}; CORSPOLICY_TEST_SEED={seed} repeats it.")
    with ExitStack() as stack:
        run = Run(line, stack, tmp_path)
        with run.watched():
            begin = time.monotonic()
            for number, round_ in zip(range(MAX_ROUNDS), plan(seed), strict=False):
                if time.monotonic() > begin + SECONDS:
                    break
                run.log(f"round {number + 1}")
                run.round(round_)
