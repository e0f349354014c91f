"""Finds the Redis that other servers know of, Sentinels or nodes of a Cluster, and watches whether it stays the one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from corspolicy.sync.logs import logger

# Together less than the time that a client has to connect.
ASK_SECONDS = 1.0
SUCCESSION_SECONDS = 1.2
SUCCESSION_POLL_SECONDS = 0.2
WATCH_SECONDS = 1.0
# A retry inside a command would hide a broken connection; and redis-py's time-out for sending is asyncio.wait_for,
# which can swallow a cancellation before Python 3.12.
PLAIN: dict[str, Any] = {
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "socket_connect_timeout": None,
}
"""Options of every connection."""


class Location(NamedTuple):
    """Where Redis is, as one server says. The greatest is the newest."""

    epoch: int
    is_up: bool
    host: str
    port: int


Locate = Callable[[Any], Awaitable[Location]]


class Search:
    """Asks servers where Redis is, over one connection to each, as long as a connection that it found is in use.

    Many connections may share one: all that ask at the same time get the same answer.
    """

    def __init__(self, urls: list[str], locate: Locate) -> None:
        self._urls = urls
        self._servers = self._clients()
        self._locate = locate
        self._users: set[FoundConnection] = set()
        self._watch: asyncio.Task[None] | None = None
        self._question: asyncio.Task[Location] | None = None

    async def __call__(self) -> tuple[str, int]:
        """Host and port. Where the master is down, its successor is waited for, for a while.

        Raises redis-py's ConnectionError if no server knows of one that is up.
        """
        deadline = time.monotonic() + SUCCESSION_SECONDS
        while not (newest := await self._newest()).is_up:
            if time.monotonic() > deadline:
                raise RedisConnectionError(f"{newest.host}:{newest.port} is down and has no successor yet")
            await asyncio.sleep(SUCCESSION_POLL_SECONDS)
        return newest.host, newest.port

    def join(self, connection: FoundConnection) -> None:
        """Watch for `connection` whether Redis is still where it leads to."""
        self._users.add(connection)
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="corspolicy watch")

    async def leave(self, connection: FoundConnection) -> None:
        """Undo `join`; with the last one, the watch ends, and with it the connections to those who are asked."""
        self._users.discard(connection)
        if self._users or self._watch is None:
            return
        if self._watch is not asyncio.current_task():
            self._watch.cancel()
        self._watch = None
        if self._question is not None:
            self._question.cancel()
            # Whoever comes now asks a question of its own, not one that is being cancelled.
            self._question = None
        # Somebody may come, and ask, while these are being closed.
        left, self._servers = self._servers, self._clients()
        for server in left:
            await _close(server)

    def _clients(self) -> list[Redis]:
        return [Redis.from_url(url, single_connection_client=True, **PLAIN) for url in self._urls]

    async def _leave_others(self, found: tuple[str, int]) -> None:
        for connection in [each for each in self._users if each.is_connected]:
            if (connection.host, connection.port) != found:
                logger.info("Redis is no longer %s:%d", connection.host, connection.port)
                await connection.disconnect(nowait=True)

    async def _newest(self) -> Location:
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask_all(), name="corspolicy search")
            # Where nobody waits for it any more, its failure is nobody's.
            self._question.add_done_callback(lambda question: question.cancelled() or question.exception())
        question = self._question
        try:
            # Shielded: others may wait for the same answer.
            return await asyncio.shield(question)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not question.cancelled():
                raise
            # The last who used the search left, which is no reason to end who asks.
            raise RedisConnectionError("the search for Redis was given up") from None

    async def _ask_all(self) -> Location:
        """Ask all at the same time: one that was away may name a master that was replaced."""
        said = await asyncio.gather(*map(self._ask, self._servers), return_exceptions=True)
        answers = [answer for answer in said if isinstance(answer, Location)]
        if not answers:
            raise RedisConnectionError(f"no server tells where Redis is: {str(said[0]) or type(said[0]).__name__}")
        return max(answers, key=lambda answer: (answer.epoch, answer.is_up, answers.count(answer)))

    async def _ask(self, server: Redis) -> Location:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._locate(await server.initialize())
        except BaseException:
            # What it may still answer must not be taken for the next answer.
            await _close(server)
            raise

    async def _keep_watch(self) -> None:
        while self._users:
            await asyncio.sleep(WATCH_SECONDS)
            # Where nobody knows better, the server stays the one that it was.
            with suppress(RedisError, OSError):
                await self._leave_others(await self())


async def _close(server: Redis) -> None:
    with suppress(RedisError, OSError):
        async with asyncio.timeout(ASK_SECONDS):
            await server.aclose()


class FoundConnection(Connection):
    """A connection to the server that a search finds. It breaks as soon as that finds another one.

    A master that was replaced may not know, and goes on to answer.
    """

    def __init__(self, *, search: Search, **options: Any) -> None:
        super().__init__(**options)
        self._search = search

    async def connect(self) -> None:
        """Find the server, and connect to it."""
        if self.is_connected:
            return
        self._search.join(self)
        try:
            self.host, self.port = await self._search()
            await super().connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await self._search.leave(self)
            raise

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Disconnect, and watch no longer."""
        await self._search.leave(self)
        await super().disconnect(*args, **options)

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send, if connected: a connection made again for one command would lead elsewhere unnoticed."""
        if not self.is_connected:
            raise RedisConnectionError("the connection was closed")
        await super().send_packed_command(*args, **options)


class FoundTLSConnection(FoundConnection, SSLConnection):
    """The same, with TLS."""
