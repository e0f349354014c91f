"""Clients of Redis, wherever it is: at an address, at the master that Sentinels name, at a node of a Cluster.

All keys share one hash tag: of a Cluster only the node that has its slot is used, like any single Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from corspolicy.sync.logs import logger
from corspolicy.sync.wire import ZERO_ID, Keys

URL_FORMS = (
    "redis://host:6379/0, rediss:// for TLS, unix:///path, redis+sentinel://host:26379,host:26379/service/0 or "
    "redis+cluster://host:6379,host:6379"
)
# Together less than the time that a client has to connect.
ASK_SECONDS = 1.0
SUCCESSION_SECONDS = 1.2
SUCCESSION_POLL_SECONDS = 0.2
WATCH_SECONDS = 1.0
_SEARCHED = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
# A retry inside a command would hide a broken connection; and redis-py's time-out for sending is asyncio.wait_for,
# which can swallow a cancellation before Python 3.12.
_PLAIN: dict[str, Any] = {
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "socket_connect_timeout": None,
}


def slot(keys: Keys) -> int:
    """The slot of a Cluster that all `keys` are in."""
    number: int = key_slot(keys.hash_tag.encode())
    return number


def connect(url: str, keys: Keys | None = None, **options: Any) -> Redis:
    """A client with no retries, and no time-outs but those of `options`; it connects when it is used.

    Of a Cluster it uses the node that has `keys`, by default those of the default namespace.

    Raises ValueError for an invalid URL.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in _SEARCHED:
            url, where = _located(parts, slot(keys or Keys()))
            options |= where
        else:
            _port(parts)
        if parts.scheme != "unix":
            options["socket_keepalive"] = True
        redis: Any = Redis.from_url(url, **{**_PLAIN, **options})
        # One that is not used: only it knows which options there are.
        redis.connection_pool.make_connection()
    except (ValueError, TypeError, RedisError) as error:
        raise ValueError(f"invalid Redis URL: {error}. Use {URL_FORMS}.") from error
    client: Redis = redis
    return client


async def last_id(redis: Redis, keys: Keys) -> bytes:
    """The id of the last entry that the stream of changes has had, even if it was trimmed since."""
    try:
        information: Any = await redis.xinfo_stream(keys.changes)
    except NoPermissionError:
        # What can be had without XINFO: the newest entry that is still there.
        newest: Any = await redis.xrevrange(keys.changes, count=1)
        return newest[0][0] if newest else ZERO_ID
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return ZERO_ID
    last: bytes = information["last-generated-id"]
    return last


Ask = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits a command of a connection, with its time-out."""


class Location(NamedTuple):
    """Where Redis is, as one server says. The greatest is the newest."""

    epoch: int
    is_up: bool
    host: str
    port: int


Locate = Callable[[Any], Awaitable[Location]]


class Search:
    """Asks servers where Redis is."""

    def __init__(self, urls: list[str], locate: Locate) -> None:
        self._urls = urls
        self._locate = locate

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

    async def _newest(self) -> Location:
        """Ask all at the same time: one that was away may name a master that was replaced."""
        said = await asyncio.gather(*map(self._answer, self._urls), return_exceptions=True)
        answers = [answer for answer in said if isinstance(answer, Location)]
        if not answers:
            raise RedisConnectionError(f"no server tells where Redis is: {str(said[0]) or type(said[0]).__name__}")
        return max(answers, key=lambda answer: (answer.epoch, answer.is_up, answers.count(answer)))

    async def _answer(self, url: str) -> Location:
        async with asyncio.timeout(ASK_SECONDS), Redis.from_url(url, **_PLAIN) as server:
            return await self._locate(server)


class FoundConnection(Connection):
    """A connection to the server that a search finds. It breaks as soon as that finds another one.

    A master that was replaced may not know, and goes on to answer.
    """

    def __init__(self, *, search: Search, **options: Any) -> None:
        super().__init__(**options)
        self._search = search
        self._watch: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Find the server, and connect to it."""
        if not self.is_connected:
            self.host, self.port = await self._search()
        await super().connect()  # type: ignore[no-untyped-call]
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="corspolicy watch")

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Disconnect, and watch no longer."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        await super().disconnect(*args, **options)

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send, if connected: a connection made again for one command would lead elsewhere unnoticed."""
        if not self.is_connected:
            raise RedisConnectionError("the connection was closed")
        await super().send_packed_command(*args, **options)

    async def _keep_watch(self) -> None:
        is_there = True
        while is_there:
            await asyncio.sleep(WATCH_SECONDS)
            # Where nobody knows better, the server stays the one that it was.
            with suppress(RedisError):
                is_there = await self._search() == (self.host, self.port)
        logger.info("Redis is no longer %s:%d", self.host, self.port)
        self._watch = None
        await self.disconnect()


class FoundTLSConnection(FoundConnection, SSLConnection):
    """The same, with TLS."""


def _located(parts: SplitResult, slot_number: int) -> tuple[str, dict[str, Any]]:
    """The URL of the server itself, without its address, and how that is found. Raises ValueError."""
    scheme, _, kind = parts.scheme.partition("+")
    query = dict(parse_qsl(parts.query))
    login, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.removeprefix("/").partition("/")
    if kind == "sentinel":
        if not service:
            raise ValueError("the service's name is missing, as the Sentinels know it")
        user, password = query.pop("sentinel_username", ""), query.pop("sentinel_password", "")
        asked = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        locate, port = _sentinel_says(unquote(service)), 26379
    else:
        if service.strip("0") or database:
            raise ValueError("a Cluster has no databases")
        asked, locate, port = login + at, _node_says(slot_number), 6379
    if database and not database.isdecimal():
        raise ValueError("the database must be a number")
    tls = urlencode({name: value for name, value in query.items() if name.startswith("ssl_")})
    urls = [f"{scheme}://{asked}{_address(host, port)}?{tls}" for host in hosts.split(",")]
    where = {
        "connection_class": FoundTLSConnection if scheme == "rediss" else FoundConnection,
        "search": Search(urls, locate),
    }
    return f"redis://{login}{at}/{database}?{urlencode(query)}", where


def _address(host: str, default_port: int) -> str:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return host if _port(parts) else f"{host.removesuffix(':')}:{default_port}"


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        # Not as urllib has it: what it takes for a port may be a piece of a password.
        raise ValueError("invalid port (1–65535); in a password, write / as %2F, ? as %3F, # as %23") from None


def _sentinel_says(service: str) -> Locate:
    async def locate(sentinel: Any) -> Location:
        state: dict[str, Any] = await sentinel.execute_command("SENTINEL MASTER", service)
        return Location(state["config-epoch"], not state["is_sdown"], state["ip"], state["port"])

    return locate


def _node_says(slot_number: int) -> Locate:
    """Nodes do not tell how new their knowledge is; what most of them say counts."""

    async def locate(node: Any) -> Location:
        slots: list[Any] = await node.execute_command("CLUSTER SLOTS")
        for first, last, (host, port, *_), *_ in slots:
            if first <= slot_number <= last:
                own: str = node.connection_pool.connection_kwargs["host"]
                return Location(0, True, host.decode() if host else own, port)
        raise RedisConnectionError(f"no node has slot {slot_number}")

    return locate
