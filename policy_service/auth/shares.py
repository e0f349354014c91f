"""What one caller may use of a process at a time, so that the others are served whatever it does.

`Turns` are for what takes milliseconds, such as a database connection: who asks for more than its share waits, holding
nothing. `Places` are for what takes as long as a client likes, such as an event stream: more than a share is rejected.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

from policy_service.database import MAX_CONNECTIONS
from policy_service.errors import Problem
from policy_service.settings import Settings

LOOKUPS = 2
"""How many keys are looked up at a time."""
HEALTH_CHECKS = 1
BACKGROUND_TASKS = 8
"""What the tasks of a process use now and then: one each, and two where one keeps a lock for the other."""
REQUESTS = MAX_CONNECTIONS - LOOKUPS - HEALTH_CHECKS - BACKGROUND_TASKS
"""What is left of the database connections for requests."""


class Turns:
    """At most `limit` at a time, and of one name at most `share`. The others wait, in order; names take turns."""

    def __init__(self, limit: int, share: int, seconds: float) -> None:
        self._limit = limit
        self._share = share
        self._seconds = seconds
        self._held: Counter[str] = Counter()
        # Of each name that waits, its requests; the name whose turn is longest ago first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def are_idle(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return not self._held and not self._waiting

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it within the block. Raises Problem 503 after `seconds`."""
        await self._wait(name)
        try:
            yield
        finally:
            self._end(name)

    async def _wait(self, name: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(granted)
        self._grant()
        try:
            async with asyncio.timeout(self._seconds):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                # Its turn came while it gave up.
                self._end(name)
            else:
                self._forget(name, granted)
            if isinstance(error, TimeoutError):
                raise _busy(self._seconds) from error
            raise

    def _grant(self) -> None:
        while self._held.total() < self._limit:
            name = next((name for name in self._waiting if self._held[name] < self._share), None)
            if name is None:
                return
            granted = self._waiting[name][0]
            self._waiting.move_to_end(name)
            self._forget(name, granted)
            if not granted.done():
                self._held[name] += 1
                granted.set_result(None)

    def _forget(self, name: str, granted: asyncio.Future[None]) -> None:
        queue = self._waiting.get(name, deque())
        if granted in queue:
            queue.remove(granted)
            if not queue:
                del self._waiting[name]

    def _end(self, name: str) -> None:
        _release(self._held, name)
        self._grant()


class Places:
    """At most `limit` at a time, and of one name at most `share`; more are rejected."""

    def __init__(self, limit: int, share: int, what: str, advice: str, code: str) -> None:
        self._limit = limit
        self._share = share
        self._what = what
        self._advice = advice
        self._code = code
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, name: str) -> Iterator[None]:
        """Have a place within the block. Raises Problem: 429 if `name` has its share, 503 if all are taken."""
        if self._taken[name] >= self._share:
            raise self._full(HTTPStatus.TOO_MANY_REQUESTS, f"This key has {self._share}")
        if self._taken.total() >= self._limit:
            raise self._full(HTTPStatus.SERVICE_UNAVAILABLE, f"All keys together have {self._limit}")
        self._taken[name] += 1
        try:
            yield
        finally:
            _release(self._taken, name)

    def _full(self, status: HTTPStatus, who: str) -> Problem:
        detail = f"{who} {self._what}: {self._advice}."
        return Problem(status, self._code, detail, headers={"Retry-After": "10"})


class Shares:
    """What callers share in one process."""

    def __init__(self, settings: Settings) -> None:
        seconds = settings.queue_timeout_seconds
        self._seconds = seconds
        self.connections = Turns(REQUESTS, settings.max_database_connections_per_key, seconds)
        """Database connections, by key."""
        self.lookups = Turns(LOOKUPS, LOOKUPS, seconds)
        """Those that it takes to find out whose key it is: by key, if it was valid lately, else by address."""
        self.health_checks = Turns(HEALTH_CHECKS, HEALTH_CHECKS, seconds)
        """Those of requests without a key, by address."""
        limit = settings.max_requests_per_key
        self.requests = Places(
            settings.max_connections,
            limit,
            "requests in progress in this process (CORSPOLICY_MAX_REQUESTS_PER_KEY)",
            "send fewer at a time, and try again",
            "too-many-requests",
        )
        self.streams = Places(
            settings.max_streams,
            max(1, settings.max_streams // 4),
            "streams open in this process (CORSPOLICY_MAX_STREAMS; a key may have a quarter)",
            "close one, or try again later",
            "too-many-streams",
        )
        self.waits = Places(
            settings.max_waits,
            max(1, settings.max_waits // 4),
            "requests waiting for a change in this process (CORSPOLICY_MAX_WAITS; a key may have a quarter)",
            "try again later, or without waiting",
            "too-many-waiting",
        )
        self._writes: dict[str, Turns] = {}

    @asynccontextmanager
    async def write(self, tenant: str, name: str) -> AsyncIterator[None]:
        """The turn to change a tenant: a change waits for the one before it here, not with a database connection."""
        turns = self._writes.setdefault(tenant, Turns(1, 1, self._seconds))
        try:
            async with turns.turn(name):
                yield
        finally:
            if turns.are_idle:
                self._writes.pop(tenant, None)


def _release(held: Counter[str], name: str) -> None:
    held[name] -= 1
    # Only who has one is counted.
    if not held[name]:
        del held[name]


def _busy(seconds: float) -> Problem:
    detail = (
        f"The requests before this one took longer than {seconds:g} s (CORSPOLICY_QUEUE_TIMEOUT_SECONDS). Nothing was "
        "changed: try again, with fewer requests at a time."
    )
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", detail, headers={"Retry-After": "1"})
