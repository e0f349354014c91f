"""Clients of Redis, wherever it is: at an address, at the master that Sentinels name, at a node of a Cluster.

All keys share one hash tag: of a Cluster only the node that has its slot is used, like any single Redis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from corspolicy.sync.search import PLAIN, FoundConnection, FoundTLSConnection, Locate, Location, Search
from corspolicy.sync.wire import ZERO_ID, Keys

URL_FORMS = (
    "redis://host:6379/0, rediss:// for TLS, unix:///path, redis+sentinel://host:26379,host:26379/service/0 or "
    "redis+cluster://host:6379,host:6379"
)
_SEARCHED = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def slot(keys: Keys) -> int:
    """The slot of a Cluster that all `keys` are in."""
    number: int = key_slot(keys.hash_tag.encode())
    return number


def connect(url: str, keys: Keys | None = None, **options: Any) -> Redis:
    """A client as `connector` makes them. Raises ValueError for an invalid URL."""
    return connector(url, keys, **options)()


def connector(url: str, keys: Keys | None = None, **options: Any) -> Callable[[], Redis]:
    """Makes clients with no retries, and no time-outs but those of `options`; they connect when they are used.

    Of a Cluster they use the node that has `keys`, by default those of the default namespace. What tells where Redis
    is, they share: use them in one event loop.

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
        make: Callable[[], Any] = partial(Redis.from_url, url, **{**PLAIN, **options})
        # One that is not used: only it knows which options there are.
        make().connection_pool.make_connection()
    except (ValueError, TypeError, RedisError) as error:
        raise ValueError(f"invalid Redis URL: {error}. Use {URL_FORMS}.") from error
    return make


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
