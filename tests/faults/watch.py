"""Threads that ask processes over HTTP, all the while, for the headers of real requests."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.book import Book, Rule, Words
from tests.support import Process

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 20.0


class Client:
    """A process that applies policies, and what may be asked of it. It also asks itself: see `asked`."""

    def __init__(self, process: Process, rule: Rule, folder: Path) -> None:
        self.process = process
        self.rule = rule
        self._counts = counts(folder, rule.name)

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def answers(self) -> dict[bool, int]:
        """How many of its own requests it allowed, and how many it did not."""
        return {True: self._counts[True], False: self._counts[False]}

    def start(self, settled: int) -> None:
        """Start it again; everything was settled so often."""
        self.rule = self.rule._replace(started=settled)
        asked = json.loads(self.process.environment["TEST_ASKED"])
        self.process.environment["TEST_ASKED"] = json.dumps(asked | {"rule": self.rule})
        self.process.start()


def counts(folder: Path, name: str) -> memoryview[int]:
    """How many requests a process asked itself that were not allowed, and that were."""
    return Words(folder / f"requests of {name}", 2).values


class Watcher(threading.Thread):
    """Asks one client, one request after the other, until it is told to end."""

    def __init__(self, client: Client, book: Book) -> None:
        super().__init__(name=f"watches {client.name}", daemon=True)
        self._client = client
        self._book = book
        self._connection: http.client.HTTPConnection | None = None
        self._is_over = threading.Event()
        self.answers = {True: 0, False: 0}
        """How many requests were allowed, and how many were not."""

    def run(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS):
            self._ask_once()
        self._close()

    def _ask_once(self) -> None:
        # Mostly its own; sometimes another tenant's, which it never allows.
        tenant, origin = pair = random.choice(self._book.pairs)
        if origin not in self._book.tenants[tenant] and random.random() < 0.7:
            return
        rule, asked_at, before = self._client.rule, time.monotonic(), self._book[pair]
        is_allowed = self._ask(tenant, origin)
        if is_allowed is None or rule != self._client.rule:
            return
        self.answers[is_allowed] += 1
        wrong = rule.check(before, self._book[pair], is_allowed=is_allowed)
        if wrong is not None:
            milliseconds = (time.monotonic() - asked_at) * 1000
            self._book.note(f"{rule.name}, over HTTP in {milliseconds:.0f} ms: {origin} of {tenant} was {wrong}")

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def _ask(self, tenant: str, origin: str) -> bool | None:
        """Whether the client allows it; None while it does not answer."""
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
        allowed = answer.headers["access-control-allow-origin"]
        assert allowed in (None, origin)
        return allowed is not None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
