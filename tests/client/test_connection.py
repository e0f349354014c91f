"""Where Redis is, by URL: real Sentinels, and what is no URL."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from corspolicy import Policies
from corspolicy.sync.connection import connect
from corspolicy.sync.search import FoundConnection, Location, Search
from tests.client.published import Published
from tests.client.test_capacity import CAPACITY, TENANTS, A, Process, new_published
from tests.redis_users import as_default
from tests.redises import SERVICE, Server, Watched
from tests.support import free_port

SECRET, SENTINEL_SECRET = "p@ss/w:rd?", "s&ntinel=#"


def ping(url: str) -> bool:
    async def run() -> bool:
        # As the default user: no other may write that.
        async with connect(as_default(url), single_connection_client=True) as redis:
            return bool(await redis.set("here", "yes"))

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://localhost", "schemes"),
        ("localhost:6379", "schemes"),
        ("redis+http://localhost", "schemes"),
        ("redis://localhost:port", "port"),
        ("redis://:secret#@localhost", "password"),
        ("redis://localhost?unknown=1", "unknown"),
        ("redis+sentinel://localhost", "service"),
        ("redis+sentinel://localhost/", "service"),
        ("redis+sentinel:///policies", "host"),
        ("redis+sentinel://one,,two/policies", "host"),
        ("redis+sentinel://one,two:port/policies", "port"),
        ("redis+sentinel://one,two:70000/policies", "port"),
        ("redis+sentinel://user:secret?@one/policies", "service"),
        ("redis+sentinel://one/policies/one", "database"),
        ("redis+sentinel://one/policies/0/1", "database"),
        ("redis+sentinel://one/policies?unknown=1", "unknown"),
        ("redis+cluster://", "host"),
        ("redis+cluster://one/1", "Cluster"),
    ],
)
def test_a_malformed_url_is_rejected_with_the_reason_and_the_valid_forms(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){why}.*redis\\+sentinel://host") as rejection:
        Policies(url)
    assert "secret" not in str(rejection.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://user:secret@localhost:6379/3?health_check_interval=30",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://one,two:26380,[::1],[::1]:26380/policies",
        "redis+sentinel://:secret@one/policies/3?sentinel_username=user&sentinel_password=secret",
        "redis+cluster://user:secret@one,two:6380/",
        "redis+cluster://one/0",
    ],
)
def test_a_valid_url_is_accepted(url: str) -> None:
    assert isinstance(connect(url), Redis)


@pytest.mark.parametrize("url", ["rediss://one", "rediss+sentinel://one/policies", "rediss+cluster://one"])
def test_tls_is_asked_for_by_the_scheme(url: str) -> None:
    assert issubclass(connect(url).connection_pool.connection_class, SSLConnection)


def test_a_unix_socket(tmp_path: Path) -> None:
    with Server(tmp_path / "redis", f"unixsocket {tmp_path}/socket") as server:
        assert ping(f"unix://{tmp_path}/socket?db=1")
        assert server.client.info("keyspace").keys() == {"db1"}


def test_secrets_of_the_server_and_of_the_sentinels_and_a_database(tmp_path: Path) -> None:
    with ExitStack() as stack:
        master = stack.enter_context(Server(tmp_path / "master", f'requirepass "{SECRET}"', password=SECRET))
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1",
            f'sentinel auth-pass {SERVICE} "{SECRET}"',
            f'requirepass "{SENTINEL_SECRET}"',
        ]
        sentinel = stack.enter_context(
            Server(tmp_path / "sentinel", *lines, password=SENTINEL_SECRET, is_sentinel=True)
        )
        url = f"redis+sentinel://:{quote(SECRET, safe='')}@{sentinel.address}/{SERVICE}/3"
        assert ping(f"{url}?sentinel_password={quote(SENTINEL_SECRET)}")
        assert master.client.info("keyspace").keys() == {"db3"}
        with pytest.raises(RedisConnectionError, match="Authentication required"):
            ping(url)


def test_of_two_masters_the_one_of_the_later_failover_counts_and_who_does_not_answer_does_not(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # As one that was cut off from the others since before the failover.
        (tmp_path / "cut off").mkdir()
        old = stack.enter_context(Server(tmp_path / "cut off" / "master"))
        line = f"sentinel monitor {SERVICE} 127.0.0.1 {old.port} 1"
        cut_off = stack.enter_context(Server(tmp_path / "cut off" / "sentinel", line, is_sentinel=True))
        watched = Watched(stack, tmp_path)
        watched.sentinels[0].client.sentinel_failover(SERVICE)
        watched.wait_until_replaced()
        known = ",".join(sentinel.address for sentinel in watched.sentinels)
        assert ping(f"redis+sentinel://{cut_off.address},127.0.0.1:{free_port()},{known}/{SERVICE}")
        assert (old.client.exists("here"), watched.replica.client.exists("here")) == (0, 1)


def test_a_process_has_one_connection_to_each_sentinel_over_a_failover(tmp_path: Path) -> None:
    with ExitStack() as stack:
        watched = Watched(stack, tmp_path)
        published = new_published(f"redis://{watched.master.address}/0")
        seen: set[tuple[str, str]] = set()

        def asking() -> list[int]:
            """How many connections ask each Sentinel where Redis is, beside the test's own."""
            numbers = []
            for sentinel in watched.sentinels:
                own = sentinel.client.client_id()
                others = [each for each in sentinel.client.client_list() if each["id"] != str(own)]
                ids = [each["id"] for each in others if each["cmd"].startswith("sentinel")]
                seen.update((sentinel.address, each) for each in ids)
                numbers.append(len(ids))
            return numbers

        async def test() -> None:
            # Beyond its capacity it has three connections to Redis.
            policies = Policies(watched.url, capacity=CAPACITY)
            await policies.start()
            process = Process(policies, published)
            assert await process.allows(TENANTS[0])
            for tenant in TENANTS:
                assert await process.allows(tenant)
            assert await process.allows(TENANTS[0])
            assert await asyncio.to_thread(asking) == [1, 1, 1]
            await asyncio.to_thread(watched.sentinels[0].client.sentinel_failover, SERVICE)
            await process.until(lambda: asyncio.to_thread(lambda: max(asking()) < 2 and watched.is_replaced()))
            Published(f"redis://{watched.replica.address}/0").publish("new", 100, A)
            await process.until(lambda: process.allows("new"))
            assert await asyncio.to_thread(asking) == [1, 1, 1]
            # None was made for just one question, which is asked every second; each may have been made again once.
            assert len(seen) <= 2 * len(watched.sentinels)
            await policies.stop()
            await process.until(lambda: asyncio.to_thread(lambda: asking() == [0, 0, 0]))

        asyncio.run(test())


def test_who_is_no_sentinel_and_an_unknown_service_are_named(redis_url: str) -> None:
    address = redis_url.rpartition("@")[2].partition("/")[0]
    with pytest.raises(RedisConnectionError, match="no server tells where Redis is: unknown command"):
        ping(f"redis+sentinel://{address}/{SERVICE}")
    with pytest.raises(RedisConnectionError, match=r"no server tells where Redis is: .*cluster support disabled"):
        ping(f"redis+cluster://{address}")


def test_who_asks_where_redis_is_while_the_last_user_leaves_is_told_and_not_cancelled() -> None:
    async def locate(server: Redis) -> Location:
        await asyncio.Event().wait()
        raise AssertionError

    async def test() -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """A server that never answers."""

        silent = await asyncio.start_server(accept, "127.0.0.1")
        port = silent.sockets[0].getsockname()[1]
        search = Search([f"redis://127.0.0.1:{port}/0"], locate)
        user = FoundConnection(search=search)
        search.join(user)
        asking = asyncio.create_task(search())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await search.leave(user)
        with pytest.raises(RedisConnectionError, match="given up"):
            await asking
        silent.close()

    asyncio.run(test())
