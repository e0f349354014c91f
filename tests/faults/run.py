"""A random run: the line with more clients and services, what happens to them, and what is expected then."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.faults.book import Book, Rule
from tests.faults.breaking import broken_line, broken_process, broken_redis, ended_connections, keep_everything
from tests.faults.line import Line, Sql
from tests.faults.plan import Fault, Round, Write
from tests.faults.postgres import Postgres
from tests.faults.proxy import Proxy
from tests.faults.watch import Client, Watcher
from tests.support import Api, Process, free_port, wait_until

SETTLED_WITHIN_SECONDS = 30.0
RECEIPT_SECONDS = 30
# A paused service is not waited for: what was sent to it is in doubt.
TIMEOUT_SECONDS = 4.0
TENANTS = {tenant: [f"https://{number}.{tenant}.example" for number in range(5)] for tenant in ("ash", "elm", "oak")}
CONFIRM = {"confirm": "true"}


class Run:
    """Clients that ask themselves all the time, two services, and a writer."""

    def __init__(self, line: Line, postgres: Postgres, stack: ExitStack, folder: Path, batch: int) -> None:
        """`batch` says how many requests each client asks itself at once, a hundred times a second."""
        self._line = line
        self._postgres = postgres
        self._folder = folder
        self._batch = batch
        self._begin = time.monotonic()
        self._proxies = [line.proxy, *(stack.enter_context(Proxy(line.redis.port)) for _ in range(2))]
        self._services = [(line.service, line.api), line.start_service(line.redis.url)]
        self._book = Book(folder, TENANTS)
        self._clients = [
            self._client(stack, line.redis.url, Rule("near")),
            self._client(stack, self._proxies[0].url, Rule("far")),
            self._client(
                stack, self._proxies[1].url, Rule("with a file", has_file=True), snapshot_path=str(folder / "last-good")
            ),
            self._client(stack, self._proxies[2].url, Rule("with room for one", holds_all=False), capacity=1),
        ]
        # Those of the line are not asked.
        for process in line.clients:
            process.stop()
        self._watchers = [Watcher(client, self._book) for client in self._clients]
        self._writing = threading.Lock()
        self._doubtful: set[tuple[str, str]] = set()
        self.receipts = {True: 0, False: 0}
        """How many receipts were complete, and how many were not."""
        keep_everything(line)

    def _client(self, stack: ExitStack, redis_url: str, rule: Rule, **options: object) -> Client:
        asked = {"folder": str(self._folder), "tenants": TENANTS, "rule": rule, "batch": self._batch}
        environment = {
            "CORSPOLICY_REDIS_URL": redis_url,
            "TEST_POLICIES": json.dumps(options),
            "TEST_ASKED": json.dumps(asked),
        }
        process = Process("tests.faults.asked:create_app", free_port(), environment)
        stack.callback(process.stop)
        return Client(process, rule, self._folder)

    @property
    def requests(self) -> int:
        """How many requests were checked."""
        asking: list[Client | Watcher] = [*self._clients, *self._watchers]
        return sum(sum(each.answers.values()) for each in asking)

    def log(self, text: str) -> None:
        """Part of the history that a failure shows."""
        print(f"{time.monotonic() - self._begin:7.2f} s  {text}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Begin with tenants that allow something, and ask every client all the while."""
        for tenant, origins in TENANTS.items():
            for kind in ("create", "put"):
                self._write(Write(kind, tenant, tuple(origins[:3]), 0, 0, 0))
        self._settle()
        for watcher in self._watchers:
            watcher.start()
        # With nothing broken each removal has its receipt.
        for tenant, origins in TENANTS.items():
            self._write(Write("remove", tenant, (origins[0],), 0, RECEIPT_SECONDS, 0))
        assert self.receipts == {True: len(TENANTS), False: 0}
        try:
            yield
        finally:
            for watcher in self._watchers:
                watcher.end()
        asking: list[Client | Watcher] = [*self._clients, *self._watchers]
        for each in asking:
            assert min(each.answers.values()) > 0, f"{each.name}: {each.answers}"

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
        assert not self._book.violations(), self._book.violations()

    def _write(self, write: Write) -> None:
        everything = set(TENANTS[write.tenant])
        allows = {*write.origins} if write.kind in ("put", "add") else set()
        removing = {"put": everything - allows, "remove": {*write.origins}, "delete": everything}
        removes = removing.get(write.kind, set())
        with self._writing:
            self._book.begin_write(write.tenant, allows=allows, removes=removes)
            outcome = self._attempt(write, allows, removes)
        self.log(f"{write.kind} {write.tenant} {' '.join(write.origins)}: {outcome}")
        time.sleep(write.pause)

    def _attempt(self, write: Write, allows: set[str], removes: set[str]) -> str:
        """Send it; what came of it, for people."""
        # What may be done later than what is written next.
        doubtful = {(write.tenant, origin) for origin in allows}
        try:
            answer = self._send(self._services[write.service][1], write)
        except httpx.TransportError as error:
            self._doubtful |= doubtful
            return type(error).__name__
        outcome = f"{answer.status_code}"
        # Another write, sent before, may have failed: then the tenant is missing, or is still there.
        is_expected = answer.status_code in (200, 201, 204, 404, 503)
        assert is_expected or (write.kind, answer.status_code) == ("create", 409), (write, answer.text)
        if answer.status_code == 503:
            self._doubtful |= doubtful
        elif "preference-applied" in answer.headers:
            outcome += self._receive(write.tenant, answer.json()["propagation"], allows, removes)
        return outcome

    def _receive(self, tenant: str, receipt: dict[str, Any], allows: set[str], removes: set[str]) -> str:
        is_complete: bool = receipt["complete"]
        self.receipts[is_complete] += 1
        if is_complete:
            doubtful = {origin for of_tenant, origin in self._doubtful if of_tenant == tenant}
            self._book.receive(tenant, allows=allows, removes=removes - doubtful)
        return ", applied everywhere" if is_complete else ", not known to be applied everywhere"

    def _send(self, api: Api, write: Write) -> httpx.Response:
        tenant = f"/v1/tenants/{write.tenant}"
        entries = f"{tenant}/policies/default/origins"
        headers = {"If-Match": "*"} | ({"Prefer": f"wait={write.wait}"} if write.wait else {})
        send = partial(api.http.request, headers=headers, timeout=TIMEOUT_SECONDS + write.wait)
        if write.kind == "create":
            return send("POST", "/v1/tenants", json={"tenant": write.tenant})
        if write.kind == "delete":
            return send("DELETE", tenant, params=CONFIRM)
        if write.kind == "put":
            return send("PUT", f"{tenant}/policies/default", json={"allow_origins": [*write.origins]}, params=CONFIRM)
        if write.kind == "add":
            return send("POST", entries, json={"pattern": write.origins[0]})
        answer = api.http.get(entries)
        for entry in answer.json()["items"] if answer.status_code == 200 else ():
            if entry["pattern"] == write.origins[0]:
                answer = send("DELETE", f"{entries}/{entry['id']}", params=CONFIRM)
        return answer

    def _broken(self, fault: Fault) -> contextlib.AbstractContextManager[None]:
        if fault.part == "line of client":
            return broken_line(self._proxies[fault.number], fault.kind)
        if fault.part == "line of service":
            return broken_line(self._line.service_proxy, fault.kind)
        if fault.part == "service":
            process = self._services[fault.number][0]
            return broken_process(process, fault.kind, process.start)
        if fault.part == "client":
            client = self._clients[fault.number]
            return broken_process(client.process, fault.kind, lambda: client.start(self._book.settled))
        if fault.part == "Redis":
            return broken_redis(self._line, fault.kind)
        return self._restored() if fault.kind == "restored" else ended_connections(self._line)

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """The database is put back from a dump that was made before the block, with the service running."""
        dump = self._folder / "dump"
        with self._writing:
            truth = self._truth()
            self._postgres.dump(self._line.database_url, dump)
        yield
        with self._writing:
            self._book.set_back(truth)
            options = ("--clean", "--if-exists", "--single-transaction")
            self._postgres.restore(self._line.database_url, dump, *options)
            self.log("restored")

    def _settle(self) -> None:
        """Return when every client is known to hold what is committed."""
        for process in (*(service for service, _ in self._services), *(client.process for client in self._clients)):
            process.wait_until_answering()
        self._line.measure("random faults, with random writes", self._is_current, SETTLED_WITHIN_SECONDS)
        truth = self._truth()
        self.log(f"settled: {' '.join(origin for allowed in truth.values() for origin in sorted(allowed))}")
        for client in self._clients:
            wait_until(partial(self._shows, client, truth), f"{client.name} allows just what is committed")
        self._book.settle(truth)
        self._doubtful.clear()

    def _is_current(self) -> bool:
        answer = self._line.api.http.get("/v1/fleet")
        if answer.status_code != 200:
            return False
        states = {process["process"]: process["state"] for process in answer.json()["processes"]}
        return all(states.get(client.process.pid) == "current" for client in self._clients)

    def _truth(self) -> dict[str, frozenset[str]]:
        """What is committed."""
        with self._line.sql() as sql:
            return {tenant: self._allowed(sql, tenant) for tenant in TENANTS}

    def _allowed(self, sql: Sql, tenant: str) -> frozenset[str]:
        rows = sql("SELECT document FROM tenants WHERE slug = $1", tenant)
        policies = json.loads(rows[0][0])["policies"] if rows else {}
        return frozenset(entry["pattern"] for entry in policies.get("default", {}).get("allow_origins", ()))

    def _shows(self, client: Client, truth: dict[str, frozenset[str]]) -> bool:
        return all(
            self._line.granted(client.process, tenant, origin) == (origin in truth[tenant])
            for tenant, origins in TENANTS.items()
            for origin in origins
        )
