"""More tenants than a process holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from corspolicy import Policies, Reason
from corspolicy.core.decision import decide
from corspolicy.sync.wire import Envelope
from tests.client.published import Published
from tests.keys import CHANGES
from tests.support import WAIT_SECONDS

A, B = "https://a.example.com", "https://b.example.com"
CAPACITY = 20
TENANTS = [f"tenant-{number}" for number in range(30)]


@pytest.fixture
def published(redis_url: str) -> Published:
    return new_published(redis_url)


def new_published(redis_url: str) -> Published:
    """Ten tenants more than fit, each allowing A."""
    published = Published(redis_url)
    for revision, tenant in enumerate(TENANTS, start=1):
        published.publish(tenant, revision, A)
    published.end_epoch("1")
    return published


class Process:
    """What one process answers, and what it asks Redis for."""

    def __init__(self, policies: Policies, published: Published) -> None:
        self.policies = policies
        self._published = published

    async def reason(self, tenant: str, origin: str = A) -> Reason:
        chain = await self.policies.chain("billing", tenant)
        return decide(chain, "GET", [(b"origin", origin.encode())], time.time()).reason

    async def allows(self, tenant: str, origin: str = A) -> bool:
        return await self.reason(tenant, origin) is Reason.ALLOWED

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():
                await asyncio.sleep(0.005)

    async def follows(self) -> None:
        """Return when all that was published before has been read."""
        newest: Any = self._published.redis.xrevrange(CHANGES, count=1)
        cursor: str = newest[0][0].decode()

        async def has_read() -> bool:
            return self.policies.status().cursor == cursor

        await self.until(has_read)

    async def takes_snapshot(self, fetches: int) -> None:
        """Return when one was taken since there were so many fetches: what is held is asked for by name."""
        began_at = time.monotonic()

        async def has_taken() -> bool:
            age = self.policies.status().age
            return self.fetches() > fetches and age is not None and time.monotonic() - age > began_at

        await self.until(has_taken)

    def fetches(self) -> int:
        """How many times Redis was asked for documents so far."""
        statistics: dict[str, Any] = self._published.redis.info("commandstats")
        return int(statistics.get("cmdstat_hmget", {"calls": 0})["calls"])


def running(
    url: str, published: Published, test: Callable[[Process], Awaitable[None]], capacity: int = CAPACITY
) -> None:
    async def run() -> None:
        policies = Policies(url, capacity=capacity)
        await policies.start()
        try:
            await test(Process(policies, published))
        finally:
            async with asyncio.timeout(5):
                await policies.stop()

    asyncio.run(run())


def test_every_tenant_is_served_and_no_more_than_fit_are_held(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        for _ in range(2):
            for tenant in TENANTS:
                assert await process.allows(tenant)
                assert not await process.allows(tenant, B)
        status = process.policies.status()
        assert (status.tenants, status.complete) == (CAPACITY, False)

    running(redis_url, published, test)


def test_what_fits_is_held_from_the_start(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        fetches = process.fetches()
        assert all([await process.allows(tenant) for tenant in TENANTS])
        assert await process.reason("unknown") is Reason.TENANT_UNKNOWN
        assert (process.fetches(), process.policies.status().complete) == (fetches, True)

    running(redis_url, published, test, capacity=len(TENANTS))


def test_when_tenants_become_more_than_fit_the_rest_is_fetched(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        published.publish("one-more", 100, A)
        await process.follows()
        assert all([await process.allows(tenant) for tenant in [*TENANTS, "one-more"]])
        status = process.policies.status()
        assert (status.tenants, status.complete) == (len(TENANTS), False)

    running(redis_url, published, test, capacity=len(TENANTS))


def test_changes_reach_what_is_held_and_what_is_fetched_later(published: Published, redis_url: str) -> None:
    held, other = TENANTS[0], TENANTS[1]

    async def test(process: Process) -> None:
        assert await process.allows(held)
        for revision, tenant in ((100, held), (101, other)):
            published.publish(tenant, revision, B)
        await process.follows()
        for tenant in (held, other):
            assert (await process.allows(tenant, A), await process.allows(tenant, B)) == (False, True)
        published.store(held, b"102")
        published.announce(tenant=held, envelope=b"102")
        await process.follows()
        assert await process.reason(held, B) is Reason.TENANT_UNKNOWN

    running(redis_url, published, test)


def test_the_platforms_policy_always_applies(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        published.publish("platform", 100, B)
        await process.follows()
        for tenant in TENANTS:
            assert await process.allows(tenant, B)
        published.publish("platform", 101)
        await process.follows()
        assert not any([await process.allows(tenant, B) for tenant in TENANTS])

    running(redis_url, published, test, capacity=2)


def test_what_was_not_used_for_longest_goes(published: Published, redis_url: str) -> None:
    first, used, unused, *_ = TENANTS

    async def test(process: Process) -> None:
        for tenant in TENANTS[:4]:
            assert await process.allows(tenant)
        # That was one too many: the first is gone, and of the others only one is used again.
        assert await process.allows(used)
        fetches = process.fetches()
        assert await process.allows(first)
        assert process.fetches() == fetches + 1
        assert await process.allows(used)
        assert process.fetches() == fetches + 1
        assert await process.allows(unused)
        assert process.fetches() == fetches + 2

    running(redis_url, published, test, capacity=3)


def test_a_flood_of_unknown_tenants_costs_little_and_displaces_nobody(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        assert all([await process.allows(tenant) for tenant in TENANTS[:CAPACITY]])
        unknown = [f"unknown-{number}" for number in range(900)]
        for _ in range(3):
            fetches = process.fetches()
            reasons = await asyncio.gather(*[process.reason(tenant) for tenant in unknown])
            assert set(reasons) == {Reason.TENANT_UNKNOWN}
        assert process.fetches() == fetches
        assert process.policies.status().tenants == CAPACITY
        assert all([await process.allows(tenant) for tenant in TENANTS[:CAPACITY]])
        assert await process.reason("No Slug!") is Reason.TENANT_UNKNOWN
        assert process.fetches() == fetches
        # More at once than wait in line: denied, and not remembered as unknown.
        reasons = await asyncio.gather(*[process.reason(f"more-{number}") for number in range(3000)])
        assert set(reasons) == {Reason.TENANT_UNKNOWN, Reason.NOT_READY}
        assert process.fetches() < fetches + 20

    running(redis_url, published, test)


def test_a_tenant_that_was_unknown_is_served_once_it_is_there(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        assert await process.reason("new") is Reason.TENANT_UNKNOWN
        published.publish("new", 100, A)
        await process.follows()
        assert await process.allows("new")

    running(redis_url, published, test)


def test_what_is_held_stays_held_over_a_new_snapshot(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        assert all([await process.allows(tenant) for tenant in TENANTS[:5]])
        published.redis.xtrim(CHANGES, maxlen=0)
        published.store(TENANTS[0], published.envelope(TENANTS[0], 100, B))
        fetches = process.fetches()
        published.end_epoch("2")
        await process.takes_snapshot(fetches)
        fetches = process.fetches()
        assert await process.allows(TENANTS[0], B)
        assert all([await process.allows(tenant) for tenant in TENANTS[1:5]])
        assert process.fetches() == fetches

    running(redis_url, published, test)


def test_deleted_tenants_take_no_place(published: Published, redis_url: str) -> None:
    deleted, living = TENANTS[:25], TENANTS[25:]
    for revision, tenant in enumerate(deleted, start=100):
        published.delete(tenant, revision)

    async def test(process: Process) -> None:
        fetches = process.fetches()
        status = process.policies.status()
        assert (status.tenants, status.complete) == (len(living), True)
        # Nor do those that are deleted from now on.
        for revision in range(200, 240, 2):
            published.publish("short-lived", revision, A)
            published.delete("short-lived", revision + 1)
        published.delete(living[0], 300)
        published.publish("new", 301, A)
        await process.follows()
        assert [await process.allows(tenant) for tenant in (*living, "new")] == [False, *[True] * len(living)]
        assert await process.reason(deleted[0]) is Reason.TENANT_UNKNOWN
        assert (process.policies.status().complete, process.fetches()) == (True, fetches)
        # What comes late does not bring one back.
        published.announce(tenant=living[0], envelope=published.envelope(living[0], 26, A))
        await process.follows()
        assert not await process.allows(living[0])

    running(redis_url, published, test, capacity=len(living) + 1)


def test_deleted_tenants_do_not_hide_that_not_all_fit(published: Published, redis_url: str) -> None:
    pipeline = published.redis.pipeline(transaction=False)
    for number in range(3000):
        envelope = Envelope(number, None).to_bytes() if number % 2 else published.envelope("any", number, A)
        pipeline.hset(published.keys.documents, f"many-{number}", envelope)
    pipeline.execute()

    async def test(process: Process) -> None:
        assert not process.policies.status().complete
        assert await process.allows("many-2998")
        assert await process.reason("many-2999") is Reason.TENANT_UNKNOWN

    published.redis.config_resetstat()
    running(redis_url, published, test, capacity=1000)
    # It is seen early, from a sample.
    assert published.redis.info("commandstats")["cmdstat_hscan"]["calls"] < 12


def test_a_capacity_of_nothing_is_rejected() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Policies("redis://localhost", capacity=0)
