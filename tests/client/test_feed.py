"""Policies that follow a real Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corspolicy import Policies
from corspolicy.core.decision import decide
from tests import servers
from tests.client.published import Published
from tests.keys import CHANGES, EPOCH, PROCESS_PREFIX
from tests.support import free_port

A, B = "https://a.example.com", "https://b.example.com"


@pytest.fixture
def published(redis_url: str) -> Published:
    published = Published(redis_url)
    published.end_epoch("1")
    return published


class Follower:
    """Asks the policies what a request would get."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies

    async def allows(self, tenant: str, origin: str) -> bool:
        chain = await self.policies.chain("billing", tenant)
        return decide(chain, "GET", [(b"origin", origin.encode())], time.time()).allowed

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await condition():
                await asyncio.sleep(0.005)

    async def until_allows(self, tenant: str, origin: str) -> None:
        await self.until(lambda: self.allows(tenant, origin))

    async def until_denies(self, tenant: str, origin: str) -> None:
        async def denies() -> bool:
            return not await self.allows(tenant, origin)

        await self.until(denies)


def following(redis_url: str, test: Callable[[Follower], Awaitable[None]], **options: Any) -> None:
    """Run `test` with policies that are started and stopped around it."""

    async def run() -> None:
        policies = Policies(redis_url, **options)
        await policies.start()
        try:
            await test(Follower(policies))
        finally:
            async with asyncio.timeout(5):
                await policies.stop()

    asyncio.run(run())


def test_a_snapshot_then_changes(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)

    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        assert not await follower.allows("other", A)
        published.publish("acme", 2, A, B)
        published.publish("other", 3, A)
        await follower.until_allows("other", A)
        assert await follower.allows("acme", B)
        published.publish("acme", 4, B)
        await follower.policies.wait_for(4, timeout=20)
        assert not await follower.allows("acme", A)
        published.store("acme", b"5")
        published.announce(tenant="acme", envelope=b"5")
        await follower.policies.wait_for(5, timeout=20)
        assert not await follower.allows("acme", B)
        status = follower.policies.status()
        assert (status.ready, status.connected, status.revision, status.tenants) == (True, True, 5, 1)
        assert status.age is not None
        assert status.rejections == {}

    following(redis_url, test)


def test_the_platforms_policy_applies_to_every_known_tenant_at_once(published: Published, redis_url: str) -> None:
    published.publish("acme", 1)
    published.publish("platform", 2)

    async def test(follower: Follower) -> None:
        assert not await follower.allows("acme", A)
        published.publish("platform", 3, A)
        await follower.until_allows("acme", A)
        assert not await follower.allows("ghost", A)
        published.publish("platform", 4)
        await follower.until_denies("acme", A)

    following(redis_url, test)


@pytest.mark.parametrize("document", [b"2 {", b"2 []", b'2 {"format":99}', b"not an envelope", b"-1 {}"])
def test_an_unreadable_document_leaves_the_last_readable_one_and_the_others(
    published: Published, redis_url: str, document: bytes
) -> None:
    published.publish("acme", 1, A)
    published.publish("other", 2)

    async def test(follower: Follower) -> None:
        published.announce(tenant="acme", envelope=document)
        published.publish("other", 3, A)
        await follower.until_allows("other", A)
        assert await follower.allows("acme", A)
        assert set(follower.policies.status().rejections) == {"acme"}
        published.publish("acme", 4, B)
        await follower.until_allows("acme", B)
        assert follower.policies.status().rejections == {}

    following(redis_url, test)


@pytest.mark.parametrize("document", [b"2 {", b"not an envelope"])
def test_an_unreadable_document_in_a_snapshot_grants_nothing_to_that_tenant_alone(
    published: Published, redis_url: str, document: bytes
) -> None:
    published.publish("platform", 1, A)
    published.publish("other", 3, B)
    published.store("acme", document)

    async def test(follower: Follower) -> None:
        assert not await follower.allows("acme", A)
        assert await follower.allows("other", B)
        assert await follower.allows("other", A)
        assert set(follower.policies.status().rejections) == {"acme"}

    following(redis_url, test)


def test_repeated_and_reordered_entries_change_nothing(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)
    published.publish("acme", 2, B)

    async def test(follower: Follower) -> None:
        published.announce(tenant="acme", envelope=published.envelope("acme", 2, B))
        published.announce(tenant="acme", envelope=published.envelope("acme", 1, A))
        published.publish("other", 3, A)
        await follower.until_allows("other", A)
        assert await follower.allows("acme", B)
        assert not await follower.allows("acme", A)

    following(redis_url, test)


def test_what_was_cut_from_the_stream_is_read_from_the_documents(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)

    async def test(follower: Follower) -> None:
        pipeline = published.redis.pipeline(transaction=True)
        # In one step, as if it had happened while this process was away.
        pipeline.hset("{corspolicy}:documents", "acme", published.envelope("acme", 2, B))
        pipeline.xadd(CHANGES, {"tenant": "acme", "envelope": published.envelope("acme", 2, B), "previous": "1-1"})
        pipeline.xtrim(CHANGES, maxlen=0)
        pipeline.xadd(CHANGES, {"tenant": "x", "envelope": published.envelope("x", 3), "previous": "2-1"})
        pipeline.execute()
        await follower.until_allows("acme", B)
        assert not await follower.allows("acme", A)

    following(redis_url, test)


def test_without_an_epoch_what_is_held_stays_and_changes_still_apply(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)
    published.publish("gone", 2, A)

    async def test(follower: Follower) -> None:
        assert await follower.allows("gone", A)
        published.begin_epoch()
        published.publish("other", 3, A)
        await follower.until_allows("other", A)
        assert await follower.allows("acme", A)
        published.publish("acme", 1, B)
        published.end_epoch("2")
        # A new epoch is the truth, even at a revision that is not higher.
        await follower.until_allows("acme", B)
        assert not await follower.allows("gone", A)

    following(redis_url, test)


def test_a_process_that_may_have_missed_something_reports_no_epoch_until_it_has_a_new_snapshot(
    published: Published, redis_url: str
) -> None:
    def reports(epoch: str | None) -> Callable[[], Awaitable[bool]]:
        async def reported() -> bool:
            names = await asyncio.to_thread(published.redis.keys, PROCESS_PREFIX + "*")
            values = await asyncio.to_thread(published.redis.mget, names) if names else []
            found = [json.loads(value) for value in values if value is not None]
            return [(report["epoch"], report["cursor"]) for report in found] == [(epoch, _last_id(published))]

        return reported

    async def test(follower: Follower) -> None:
        await follower.until(reports("1"))
        published.redis.delete(EPOCH)
        # It does not follow on what was read before it: something in between is lost.
        published.redis.xadd(
            CHANGES, {"previous": "1-1", "tenant": "acme", "envelope": published.envelope("acme", 9, A)}
        )
        await follower.until_allows("acme", A)
        await follower.until(reports(None))
        published.end_epoch("2")
        await follower.until(reports("2"))

    following(redis_url, test)


def _last_id(published: Published) -> str:
    newest: Any = published.redis.xrevrange(CHANGES, count=1)
    entry_id: str = newest[0][0].decode()
    return entry_id


def test_a_redis_that_was_emptied_does_not_empty_the_policies(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)

    async def test(follower: Follower) -> None:
        published.redis.flushdb()
        published.publish("other", 2, A)
        published.publish("acme", 1, A)
        assert await follower.allows("acme", A)
        published.end_epoch("2")
        await follower.until_allows("other", A)
        assert await follower.allows("acme", A)

    following(redis_url, test)


def test_without_redis_nothing_is_granted_until_it_comes(tmp_path: Path) -> None:
    port = free_port()

    async def test(follower: Follower) -> None:
        assert not await follower.allows("acme", A)
        status = follower.policies.status()
        assert (status.ready, status.connected, status.age) == (False, False, None)
        with servers.redis_at(tmp_path, port) as url:
            published = Published(url)
            published.publish("acme", 1, A)
            published.end_epoch("1")
            await follower.until_allows("acme", A)
        # And when it goes again, what is held stays.
        await follower.until(lambda: _is(not follower.policies.status().connected))
        assert await follower.allows("acme", A)

    following(f"redis://127.0.0.1:{port}/0", test, startup_timeout=0.2)


async def _is(value: bool) -> bool:
    return value


def test_it_starts_with_the_first_request_and_in_each_event_loop(published: Published, redis_url: str) -> None:
    published.publish("acme", 1, A)
    policies = Policies(redis_url)

    async def ask() -> bool:
        return await Follower(policies).allows("acme", A)

    assert asyncio.run(ask())
    published.publish("acme", 2, B)
    # The first loop is closed and its feed with it: the second must not see what that one held.
    assert not asyncio.run(ask())


def test_an_expired_entry_is_denied_without_a_message(published: Published, redis_url: str) -> None:
    until = time.time() + 1.0
    policy = check_expiring(A, until)
    published.store("acme", policy)

    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        await follower.until_denies("acme", A)
        assert time.time() >= until

    following(redis_url, test)


def check_expiring(origin: str, until: float) -> bytes:
    from corspolicy.core.document import Document
    from corspolicy.core.policy import OriginEntry, Policy
    from corspolicy.sync.wire import Envelope

    policy = Policy(allow_origins=(OriginEntry(origin, until),))
    return Envelope(9, Document("acme", 9, {"default": policy}).to_bytes()).to_bytes()


@pytest.mark.parametrize("url", ["", "http://localhost", "localhost:6379"])
def test_an_invalid_url_is_rejected_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORSPOLICY_REDIS_URL", raising=False)
    with pytest.raises(ValueError, match=r"[Rr]edis"):
        Policies(url)
