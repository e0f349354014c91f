"""A TCP proxy that breaks connections in the ways that networks do, switched at run time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from tests.redis_users import as_user
from tests.support import WAIT_SECONDS, free_port

T = TypeVar("T")


class Way(Enum):
    """Where bytes go."""

    UP = "to the server"
    DOWN = "to the client"


BOTH = frozenset(Way)


@dataclass(eq=False)
class Link:
    """One connection through the proxy. What is silent stays so: lost bytes never arrive later."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: frozenset[Way]


@dataclass(eq=False)
class Hold:
    """Stops the first request that contains `pattern`, or the reply to it, until it is released."""

    pattern: bytes
    way: Way
    is_holding: threading.Event = field(default_factory=threading.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    link: Link | None = None


class Proxy:
    """Passes connections to a loopback port on, until told otherwise. Use it in a with statement."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.accepted = 0
        self._target = target
        self._delay = 0.0
        self._seconds_per_byte = 0.0
        self._silent: frozenset[Way] = frozenset()
        self._hold: Hold | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Of the Redis behind it, for a client's user."""
        return as_user(f"redis://127.0.0.1:{self.port}/0", "client")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """From now on, everything passes at once. Connections that were silenced stay dead, as in a network."""

        async def do() -> None:
            self._delay, self._seconds_per_byte, self._silent = 0.0, 0.0, frozenset()
            await self._listen()

        self._do(do)

    def cut(self) -> None:
        """Reset every connection; refuse new ones until healed."""

        async def do() -> None:
            self._refuse()
            self._reset()

        self._do(do)

    def reset(self) -> None:
        """Reset every connection; accept new ones."""

        async def do() -> None:
            self._reset()

        self._do(do)

    def silence(self, *ways: Way, new: bool = True) -> None:
        """Swallow what goes these ways, with no error: on the connections there are and, if `new`, on new ones."""

        async def do() -> None:
            self._silent = frozenset(ways) if new else frozenset()
            for link in self._links:
                link.silent |= frozenset(ways)

        self._do(do)

    def slow_down(self, seconds: float) -> None:
        """Delay everything, both ways."""

        async def do() -> None:
            self._delay = seconds

        self._do(do)

    def throttle(self, bytes_per_second: float) -> None:
        """Let no more through on a connection, each way."""

        async def do() -> None:
            self._seconds_per_byte = 1 / bytes_per_second

        self._do(do)

    @contextlib.contextmanager
    def holding(self, pattern: bytes, way: Way) -> Iterator[Callable[[], None]]:
        """Hold the next request with `pattern` (UP) or the reply to it (DOWN); gives a wait for that to happen.

        What is held goes on when the block ends.
        """

        async def begin() -> Hold:
            self._hold = Hold(pattern, way)
            return self._hold

        async def end() -> None:
            self._hold = None
            hold.released.set()

        def wait() -> None:
            assert hold.is_holding.wait(WAIT_SECONDS), f"nobody sent {pattern!r}"

        hold = self._do(begin)
        try:
            yield wait
        finally:
            self._do(end)

    def _do(self, action: Callable[[], Awaitable[T]]) -> T:
        async def act() -> T:
            return await action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(WAIT_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset(self) -> None:
        for link in [*self._links]:
            self._drop(link)

    async def _close(self) -> None:
        self._refuse()
        self._reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent = self._silent
        self.accepted += 1
        try:
            server_reader, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server, silent)
        self._links.add(link)
        for way, source, target in ((Way.UP, reader, server), (Way.DOWN, server_reader, writer)):
            task = self._loop.create_task(self._pump(link, way, source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, link: Link, way: Way, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await asyncio.sleep(self._delay + len(data) * self._seconds_per_byte)
                await self._wait_if_held(link, way, data)
                if way not in link.silent:
                    target.write(data)
                    await target.drain()
        # A silenced way does not tell of the end either.
        if way not in link.silent:
            self._drop(link)

    async def _wait_if_held(self, link: Link, way: Way, data: bytes) -> None:
        hold = self._hold
        if hold is None:
            return
        if hold.link is None and way is Way.UP and hold.pattern in data:
            hold.link = link
        elif hold.way is Way.UP:
            return
        if hold.link is link and hold.way is way:
            hold.is_holding.set()
            await hold.released.wait()

    def _drop(self, link: Link) -> None:
        self._links.discard(link)
        link.client.transport.abort()
        link.server.transport.abort()
