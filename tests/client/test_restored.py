"""The truth moved: a new epoch, a large document that only the hash has, a process that holds something else."""

from __future__ import annotations

import asyncio

import pytest

from corspolicy import Policies
from corspolicy.sync.wire import INLINE_BYTES, Keys
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower, following
from tests.client.test_starts import reports
from tests.faults.proxy import Proxy, Way


@pytest.fixture
def published(redis_url: str) -> Published:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 100, A)
    published.publish("gone", 101, A)
    return published


@pytest.mark.parametrize("capacity", [100, 2], ids=["all", "on demand"])
def test_a_new_epoch_is_followed_whatever_revisions_are_held(
    published: Published, redis_url: str, capacity: int
) -> None:
    for number in range(3):
        published.publish(f"other-{number}", 110 + number)

    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        published.delete("gone", 120)
        published.publish("platform", 121, "https://platform.example.com")
        await follower.until_allows("acme", "https://platform.example.com")
        # A restored database: lower revisions, a tenant that had been deleted is there, and others are not.
        published.begin_epoch()
        published.store("acme", published.envelope("acme", 50, B))
        published.store("gone", published.envelope("gone", 51, A))
        for number in range(3):
            published.store(f"older-{number}", published.envelope(f"older-{number}", 52 + number, A))
        published.end_epoch("2")
        await follower.until_allows("acme", B)
        assert not await follower.allows("acme", A)
        assert not await follower.allows("acme", "https://platform.example.com")
        assert await follower.allows("gone", A)
        assert not await follower.allows("other-0", A)
        # And from there on: each change, lower than what was held before.
        published.publish("acme", 60, A)
        published.delete("gone", 61)
        published.publish("platform", 62, B)
        await follower.until_allows("acme", A)
        await follower.until_allows("older-1", B)
        assert not await follower.allows("gone", A)

    following(redis_url, test, capacity=capacity)


def large(published: Published, tenant: str, revision: int, origin: str) -> bytes:
    return published.envelope(tenant, revision, origin) + b" " * INLINE_BYTES


def test_a_large_document_is_read_from_the_hash_once_for_all_changes_that_are_read_at_once(
    published: Published, redis_url: str
) -> None:
    async def test(follower: Follower) -> None:
        published.redis.config_resetstat()
        pipeline = published.redis.pipeline(transaction=True)
        documents, changes = published.keys.documents, published.keys.changes
        (newest, _), *_ = published.redis.xrevrange(changes, count=1)
        base = int(newest.partition(b"-")[0]) + 1
        previous = newest
        for number, tenant in enumerate(("acme", "new", "acme", "acme")):
            pipeline.hset(documents, tenant, large(published, tenant, 200 + number, B))
            entry_id = b"%d-%d" % (base, number)
            pipeline.xadd(changes, {"tenant": tenant, "revision": 200 + number, "previous": previous}, id=entry_id)
            previous = entry_id
        pipeline.execute()
        await follower.policies.wait_for(203, timeout=20)
        for tenant in ("acme", "new"):
            assert (await follower.allows(tenant, A), await follower.allows(tenant, B)) == (False, True)
        assert published.redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1
        # No snapshot was needed.
        assert "cmdstat_hscan" not in published.redis.info("commandstats")
        published.publish("acme", 300, A)
        await follower.until_allows("acme", A)

    following(redis_url, test)


@pytest.mark.parametrize("is_older", [True, False], ids=["an older one", "nothing"])
def test_a_large_document_that_the_hash_has_lost_is_not_said_to_be_applied(
    published: Published, redis_url: str, is_older: bool
) -> None:
    async def test(follower: Follower) -> None:
        def is_unsure() -> bool:
            return [(report["revision"], report["epoch"]) for report in reports(published)] == [(201, None)]

        with proxy.holding(b"HSCAN", Way.UP):
            if not is_older:
                published.redis.hdel(published.keys.documents, "acme")
            published.announce(tenant="acme", revision=200)
            published.publish("other", 201, A)
            await follower.until_allows("other", A)
            await follower.until(lambda: asyncio.to_thread(is_unsure))
            assert await follower.allows("acme", A)
            published.store("acme", large(published, "acme", 200, B))
        await follower.until_allows("acme", B)

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        following(proxy.url, test)


def test_a_process_that_holds_something_else_takes_a_new_snapshot_when_it_is_asked_to(
    published: Published, redis_url: str
) -> None:
    async def test(follower: Follower) -> None:
        def digests() -> set[str]:
            return {report["digest"] for report in reports(published) if report["epoch"] == "1"}

        await follower.until(lambda: asyncio.to_thread(lambda: len(digests()) == 1))
        right = digests()
        # Somebody else wrote to the stream.
        published.announce(tenant="acme", envelope=published.envelope("acme", 9999, B))
        await follower.until_allows("acme", B)
        await follower.until(lambda: asyncio.to_thread(lambda: digests() not in (right, set())))
        (name,) = published.redis.zrange(published.keys.processes, 0, -1)
        published.redis.set(published.keys.resync(name.decode()), 1)
        await follower.until_allows("acme", A)
        assert not await follower.allows("acme", B)
        await follower.until(lambda: asyncio.to_thread(lambda: digests() == right))
        assert not published.redis.exists(published.keys.resync(name.decode()))
        published.publish("acme", 201, B)
        await follower.until_allows("acme", B)

    following(redis_url, test)


def test_namespaces_that_share_a_redis_do_not_see_each_other(
    published: Published, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Published(redis_url, Keys("staging"))
    staging.publish("acme", 1, B)
    staging.end_epoch("1")
    monkeypatch.setenv("CORSPOLICY_NAMESPACE", "staging")

    async def test(follower: Follower) -> None:
        assert (await follower.allows("acme", A), await follower.allows("acme", B)) == (False, True)
        published.publish("acme", 200, A)
        staging.publish("other", 2, A)
        await follower.until_allows("other", A)
        assert not await follower.allows("acme", A)
        await follower.until(lambda: asyncio.to_thread(lambda: len(reports(staging)) == 1))
        assert reports(published) == []

    following(published.url, test)

    async def test_default(follower: Follower) -> None:
        assert (await follower.allows("acme", A), await follower.allows("acme", B)) == (True, False)

    following(published.url, test_default, namespace="corspolicy")


@pytest.mark.parametrize("namespace", ["", "Upper", "with:colon", "with{brace}", "x" * 41, "new\nline"])
def test_an_invalid_namespace_is_rejected(namespace: str) -> None:
    with pytest.raises(ValueError, match="invalid namespace"):
        Policies("redis://localhost", namespace=namespace)
