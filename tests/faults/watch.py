"""What clients may grant and what they must, and threads that ask all the while whether they do."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support import Process

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 20.0


class Expected(NamedTuple):
    """Of one tenant, since everything was last settled: every client known to hold what is committed."""

    settled: int = 0
    """How often that was so."""
    may: frozenset[str] = frozenset()
    """Admitted then, or by a write whose request was sent since."""
    must: frozenset[str] = frozenset()
    """Admitted then, and by everything written since."""
    ever: frozenset[str] = frozenset()
    """Admitted by anything that was ever written."""


class Book:
    """What is expected of every tenant: kept by whoever writes, read by those who watch."""

    def __init__(self, tenants: Iterable[str]) -> None:
        self._expected = dict.fromkeys(tenants, Expected())

    def __getitem__(self, tenant: str) -> Expected:
        return self._expected[tenant]

    def write(self, tenant: str, *, admits: Iterable[str] = (), refuses: Iterable[str] = ()) -> None:
        """A write is about to be sent; whether it will be done, and when it is applied, is open."""
        expected, admits = self._expected[tenant], frozenset(admits)
        self._expected[tenant] = expected._replace(
            may=expected.may | admits, must=expected.must - frozenset(refuses), ever=expected.ever | admits
        )

    def settle(self, truth: Mapping[str, frozenset[str]]) -> None:
        """Every client is known to hold this; nobody writes."""
        for tenant, admitted in truth.items():
            expected = self._expected[tenant]
            # That it was never written is not for this to hide: `ever` stays.
            self._expected[tenant] = Expected(expected.settled + 1, admitted, admitted, expected.ever)


class Client:
    """A process that applies policies, and what may be asked of it."""

    def __init__(self, name: str, process: Process, *, holds_all: bool = True, has_file: bool = False) -> None:
        self.name = name
        self.process = process
        self.holds_all = holds_all
        self.has_file = has_file
        self.started = 0
        """How often everything had been settled when it last started; it is new until that is so once more."""

    def wrong(self, expected: Expected, origin: str, *, is_granted: bool) -> str | None:
        """What is wrong with an answer, if anything."""
        is_new = self.started == expected.settled
        # A last-known-good file is as old as it is: a start from it while Redis is out of reach may admit what was
        # taken back since, and that is what it is for. But nothing that was never admitted.
        may = expected.ever if is_new and self.has_file else expected.may
        if is_granted and origin not in may:
            return "admitted although it is not, and was not since that was enforced everywhere"
        # A client that has just started may not reach Redis, nor one that holds some tenants for the others.
        if not is_granted and origin in expected.must and self.holds_all and not is_new:
            return "denied although it has been allowed all the time"
        return None


class Watcher(threading.Thread):
    """Asks one client for the headers of real requests, one after the other, until it is told to end."""

    def __init__(
        self, client: Client, book: Book, origins: Mapping[str, Iterable[str]], log: Callable[[str], None]
    ) -> None:
        super().__init__(name=f"watches {client.name}", daemon=True)
        self._client = client
        self._book = book
        self._origins = sorted({origin for of_tenant in origins.values() for origin in of_tenant})
        self._tenants = list(origins)
        self._own = {tenant: sorted(of_tenant) for tenant, of_tenant in origins.items()}
        self._log = log
        self._connection: http.client.HTTPConnection | None = None
        self._is_over = threading.Event()
        self.answers = {True: 0, False: 0}
        """How many requests were granted, and how many were not."""
        self.violations: list[str] = []

    def run(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS):
            self._ask_once()
        self._close()

    def _ask_once(self) -> None:
        tenant = random.choice(self._tenants)
        # Mostly its own; sometimes another tenant's, which it never admits.
        origin = random.choice(self._own[tenant] if random.random() < 0.8 else self._origins)
        asked_at, before = time.monotonic(), self._book[tenant]
        is_granted = self._ask(tenant, origin)
        expected = self._book[tenant]
        if is_granted is None or before.settled != expected.settled:
            return
        self.answers[is_granted] += 1
        wrong = self._client.wrong(expected, origin, is_granted=is_granted)
        if wrong is not None:
            milliseconds = (time.monotonic() - asked_at) * 1000
            self.violations.append(f"{self._client.name}: {origin} of tenant {tenant} was {wrong}")
            self._log(f"VIOLATION (answered after {milliseconds:.0f} ms): {self.violations[-1]}")

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def _ask(self, tenant: str, origin: str) -> bool | None:
        """Whether the client grants it; None while it does not answer."""
        try:
            if self._connection is None:
                address = urlsplit(self._client.process.url).netloc
                self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
            self._connection.request("GET", f"/t/{tenant}", headers={"Origin": origin})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._close()
            return None
        granted = answer.headers["access-control-allow-origin"]
        assert granted in (None, origin)
        return granted is not None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
