"""Users of Redis who may not do everything, and replicas, to which nobody may write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from corspolicy import Policies
from corspolicy.sync.wire import Keys
from tests import redis_users
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.client.test_starts import reports
from tests.redises import Server
from tests.support import wait_until

# Without these, a client may only read; without the first, it reports by plain commands.
REPORTING = ("eval", "set", "del", "zadd", "zrem", "zremrangebyscore")
KEYS = Keys()
OTHERS = Keys("staging")
WRITTEN_BY_A_SCRIPT = ("EVAL", "return redis.call('HSET', KEYS[1], 'acme', '9 {}')", 1, KEYS.documents)
DENIED_TO_ALL = [
    "CONFIG GET *", "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "ACL LIST", "MODULE LIST", "SHUTDOWN",
    "REPLICAOF NO ONE", "SCRIPT FLUSH", "CLIENT PAUSE 1", "CLIENT KILL TYPE normal", "MONITOR", "SUBSCRIBE any", "SAVE",
    f"RENAME {KEYS.documents} {KEYS.changes}", f"HGET {OTHERS.documents} acme", "GET other", "SET other 1", "DBSIZE",
]  # fmt: skip
DENIED_TO_CLIENTS = [
    "CLIENT LIST",
    f"HSET {KEYS.documents} acme 9", f"HDEL {KEYS.documents} acme", f"XADD {KEYS.changes} * tenant acme",
    f"XTRIM {KEYS.changes} MAXLEN 0", f"SETRANGE {KEYS.epoch} 0 2", f"EXPIRE {KEYS.documents} 1", "INFO",
    "CLUSTER INFO", f"UNLINK {KEYS.documents}", f"RESTORE {KEYS.documents} 0 x", "COPY here there",
]  # fmt: skip
# Redis 6 can't tell the reports' keys from the others.
DENIED_SINCE_REDIS_7 = [
    f"DEL {KEYS.documents}", f"SET {KEYS.epoch} 2", f"DEL {KEYS.processes}", f"SET {KEYS.processes} 1",
    f"ZADD {KEYS.report('x')} 1 x", f"ZADD {KEYS.documents} 1 x", f"GET {KEYS.term}", f"SET {KEYS.identity} 1",
]  # fmt: skip


@pytest.fixture
def published(redis_url: str) -> Iterator[Published]:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    yield published
    redis_users.create(published.url)


def without(published: Published, *commands: str) -> None:
    """Take these commands from the clients' user, until the end of the test."""
    rules = [
        rule
        for rule in redis_users.rules("client", version(published))
        if not any(word.strip("(+)") in commands for word in rule.split())
    ]
    published.redis.execute_command("ACL", "SETUSER", *rules)


def version(published: Published) -> int:
    return int(published.redis.info("server")["redis_version"].split(".")[0])


@pytest.mark.parametrize("user", redis_users.USERS)
def test_a_user_has_no_other_rights(published: Published, user: str) -> None:
    published.redis.hset(OTHERS.documents, "acme", "1 {}")
    commands: list[tuple[object, ...]] = [tuple(command.split()) for command in DENIED_TO_ALL]
    if user == "client":
        later = DENIED_SINCE_REDIS_7 if version(published) >= 7 else []
        commands += [WRITTEN_BY_A_SCRIPT, *(tuple(command.split()) for command in (*DENIED_TO_CLIENTS, *later))]
    before = published.redis.hgetall(published.keys.documents)
    with Redis.from_url(redis_users.as_user(published.url, user)) as client:
        for command in commands:
            with pytest.raises(ResponseError, match=r"(?i)permission|can't run this command|no access"):
                client.execute_command(*command)
    assert published.redis.hgetall(published.keys.documents) == before


def following(url: str, test: Callable[[Follower], Awaitable[None]]) -> None:
    async def run() -> None:
        policies = Policies(url, capacity=2)
        await policies.start()
        assert policies.is_ready()
        await test(Follower(policies))
        await policies.stop()

    asyncio.run(run())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("withheld", [(), ("eval",)])
def test_a_client_follows_and_reports(
    published: Published, redis_url: str, withheld: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        published.publish("acme", 2, B)
        await follower.until_allows("acme", B)
        assert not await follower.allows("acme", A)

        def has_reported() -> bool:
            found = reports(published)
            return [(report["revision"], report["epoch"]) for report in found] == [(2, "1")]

        await follower.until(lambda: asyncio.to_thread(has_reported))

    without(published, *withheld)
    following(redis_url, test)
    assert reports(published) == []
    assert published.redis.zcard(published.keys.processes) == 0
    assert warnings(caplog) == []


def test_a_client_fetches_on_demand(published: Published, redis_url: str) -> None:
    for number in range(5):
        published.publish(f"tenant-{number}", 10 + number, A)

    async def test(follower: Follower) -> None:
        assert not follower.policies.status().complete
        for number in range(5):
            assert await follower.allows(f"tenant-{number}", A)

    following(redis_url, test)


def test_a_user_who_may_only_read_follows_and_says_once_that_no_receipt_covers_it(
    published: Published, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(follower: Follower) -> None:
        for revision in range(2, 7):
            published.publish("acme", revision, B if revision % 2 == 0 else A)
            await follower.policies.wait_for(revision, timeout=20)
        assert await follower.allows("acme", B)

    without(published, *REPORTING)
    following(redis_url, test)
    (warning,) = warnings(caplog)
    assert "no receipt covers it" in warning
    assert reports(published) == []


def test_a_replica_is_followed(
    published: Published, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    with Server(tmp_path / "replica", f"replicaof 127.0.0.1 {port}") as replica:
        wait_until(lambda: replica.client.exists(published.keys.epoch), "the replica has everything")

        async def test(follower: Follower) -> None:
            published.publish("acme", 2, B)
            await follower.until_allows("acme", B)
            assert not await follower.allows("acme", A)

        following(redis_users.as_user(f"redis://127.0.0.1:{replica.port}/0", "client"), test)
        (warning,) = warnings(caplog)
        assert "no receipt covers it" in warning
