"""Users of Redis who may not do everything, and replicas, to which nobody may write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from corspolicy import Policies
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.client.test_starts import reports
from tests.redises import Server
from tests.support import wait_until

# What a client needs, and nothing else.
READ = ("+get", "+hget", "+hmget", "+hscan", "+hlen", "+xread", "+xrevrange")
REPORT = ("+set", "+zadd", "+zrem", "+time", "+del")


@pytest.fixture
def published(redis_url: str) -> Iterator[Published]:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    yield published
    published.redis.acl_deluser("limited")


def limited(published: Published, redis_url: str, *rights: str) -> str:
    """The URL of a user who may do that."""
    rules = ("reset", "on", ">secret", f"~{published.keys.hash_tag}:*", *rights)
    published.redis.execute_command("ACL", "SETUSER", "limited", *rules)
    return redis_url.replace("redis://", "redis://limited:secret@")


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


def test_a_user_with_no_more_rights_than_needed_follows_and_reports(
    published: Published, redis_url: str, caplog: pytest.LogCaptureFixture
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

    following(limited(published, redis_url, *READ, *REPORT), test)
    assert reports(published) == []
    assert published.redis.zcard(published.keys.processes) == 0
    assert warnings(caplog) == []


def test_a_user_with_no_more_rights_than_needed_fetches_on_demand(published: Published, redis_url: str) -> None:
    for number in range(5):
        published.publish(f"tenant-{number}", 10 + number, A)

    async def test(follower: Follower) -> None:
        assert not follower.policies.status().complete
        for number in range(5):
            assert await follower.allows(f"tenant-{number}", A)

    following(limited(published, redis_url, *READ, *REPORT), test)


def test_a_user_who_may_only_read_follows_and_says_once_that_no_receipt_covers_it(
    published: Published, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(follower: Follower) -> None:
        for revision in range(2, 7):
            published.publish("acme", revision, B if revision % 2 == 0 else A)
            await follower.policies.wait_for(revision, timeout=20)
        assert await follower.allows("acme", B)

    following(limited(published, redis_url, *READ), test)
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

        following(f"redis://127.0.0.1:{replica.port}/0", test)
        (warning,) = warnings(caplog)
        assert "no receipt covers it" in warning
