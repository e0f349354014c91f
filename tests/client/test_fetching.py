"""Documents that are fetched as requests ask for them, while changes come and connections go."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
import tracemalloc

import pytest

from corspolicy import Reason
from corspolicy.sync import names as names_module
from corspolicy.sync.names import Names
from tests.client.published import Published
from tests.client.test_capacity import CAPACITY, TENANTS, A, B, Process, new_published, running
from tests.faults.proxy import BOTH, Proxy, Way
from tests.keys import CHANGES
from tests.support import WAIT_SECONDS


@pytest.fixture
def published(redis_url: str) -> Published:
    return new_published(redis_url)


def test_many_requests_for_a_tenant_make_one_fetch(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        fetches = process.fetches()
        assert all(await asyncio.gather(*[process.allows(TENANTS[0]) for _ in range(200)]))
        assert process.fetches() == fetches + 1

    running(redis_url, published, test)


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("tenant", [TENANTS[0], "new"])
def test_a_change_during_a_fetch_is_not_lost(published: Published, redis_url: str, way: Way, tenant: str) -> None:
    async def test(process: Process) -> None:
        with proxy.holding(tenant.encode(), way) as wait_until_held:
            request = asyncio.create_task(process.allows(tenant))
            await asyncio.to_thread(wait_until_held)
            published.publish(tenant, 100, B)
            await process.follows()
        await request
        assert (await process.allows(tenant, A), await process.allows(tenant, B)) == (False, True)

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)


def test_a_change_that_is_missed_during_a_fetch_is_not_lost(published: Published, redis_url: str) -> None:
    tenant = TENANTS[0]

    async def test(process: Process) -> None:
        with proxy.holding(tenant.encode(), Way.DOWN) as wait_until_held:
            request = asyncio.create_task(process.allows(tenant))
            await asyncio.to_thread(wait_until_held)
            fetches = process.fetches()
            published.store(tenant, published.envelope(tenant, 100, B))
            # The entry before this one was cut off ahead of the reader.
            published.redis.xadd(CHANGES, {"tenant": "other", "envelope": b"101", "previous": b"1-0"})
            await process.takes_snapshot(fetches)
        await request
        assert (await process.allows(tenant, A), await process.allows(tenant, B)) == (False, True)

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)


def test_a_fetch_from_an_earlier_epoch_is_not_taken(published: Published, redis_url: str) -> None:
    tenant = TENANTS[0]

    async def test(process: Process) -> None:
        with proxy.holding(tenant.encode(), Way.DOWN) as wait_until_held:
            request = asyncio.create_task(process.allows(tenant))
            await asyncio.to_thread(wait_until_held)
            # Another truth, in which the tenant never was.
            published.begin_epoch()
            for number in range(CAPACITY + 1):
                published.store(f"other-{number}", published.envelope(f"other-{number}", 200 + number, A))
            fetches = process.fetches()
            published.end_epoch("2")
            await process.takes_snapshot(fetches)
        assert not await request
        await process.until(lambda: process.allows("other-0"))
        assert await process.reason(tenant) is Reason.TENANT_UNKNOWN

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)


def test_while_redis_is_written_anew_nobody_becomes_unknown(published: Published, redis_url: str) -> None:
    held, other = TENANTS[0], TENANTS[1]

    async def test(process: Process) -> None:
        assert await process.allows(held)
        published.begin_epoch()
        assert await process.reason(other) is Reason.NOT_READY
        assert await process.allows(held)
        for revision, tenant in enumerate(TENANTS, start=100):
            published.store(tenant, published.envelope(tenant, revision, A))
        published.end_epoch("2")
        await process.until(lambda: process.allows(other))
        assert await process.allows(held)

    running(redis_url, published, test)


def test_while_redis_is_silent_what_is_held_is_served_and_the_rest_denied_in_time(
    published: Published, redis_url: str
) -> None:
    held, other = TENANTS[0], TENANTS[1]

    async def test(process: Process) -> None:
        assert await process.allows(held)
        proxy.silence(*BOTH)
        began_at = time.monotonic()
        reasons = await asyncio.gather(*[process.reason(other) for _ in range(50)])
        assert set(reasons) == {Reason.NOT_READY}
        assert time.monotonic() - began_at < WAIT_SECONDS / 2
        assert await process.allows(held)
        proxy.heal()
        await process.until(lambda: process.allows(other))

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)


@pytest.mark.parametrize("is_silent", [True, False], ids=["silently", "reset"])
def test_an_idle_connection_that_was_dropped_denies_nobody(
    published: Published, redis_url: str, is_silent: bool
) -> None:
    async def test(process: Process) -> None:
        assert await process.allows(TENANTS[0])
        if is_silent:
            proxy.silence(*BOTH, new=False)
        else:
            proxy.reset()
        for tenant in TENANTS[1:5]:
            assert await process.allows(tenant)

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)


def test_a_tenant_that_is_awaited_is_not_evicted(published: Published, redis_url: str) -> None:
    waiting = TENANTS[:10]

    async def test(process: Process) -> None:
        with proxy.holding(waiting[0].encode(), Way.DOWN) as wait_until_held:
            requests = [asyncio.create_task(process.allows(tenant)) for tenant in waiting]
            await asyncio.to_thread(wait_until_held)
            for revision, tenant in enumerate(waiting, start=100):
                published.publish(tenant, revision, B)
            await process.follows()
        # What was fetched is older than what has come since, and must not take its place.
        assert not any(await asyncio.gather(*requests))
        for tenant in waiting:
            assert (await process.allows(tenant, A), await process.allows(tenant, B)) == (False, True)
        assert process.policies.status().tenants <= 2

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test, capacity=2)


def test_more_requests_at_once_than_fit_are_all_served(published: Published, redis_url: str) -> None:
    async def test(process: Process) -> None:
        assert all(await asyncio.gather(*[process.allows(tenant) for tenant in TENANTS]))
        assert process.policies.status().tenants == 2

    running(redis_url, published, test, capacity=2)


def test_a_flood_of_random_names_neither_delays_nor_evicts_who_is_known(published: Published, redis_url: str) -> None:
    evicted, held, changed = TENANTS[:10], TENANTS[-1], "changed"
    round_trip = 0.2
    is_over = asyncio.Event()
    seconds: list[float] = []

    async def flood(process: Process) -> None:
        # At least ten thousand, each as long as a slug may be: more than there are places, and the line brings answers.
        requests: list[asyncio.Task[Reason]] = []
        while len(requests) < 10_000 or not is_over.is_set():
            requests += [asyncio.create_task(process.reason(f"flood-{secrets.token_hex(28)}")) for _ in range(100)]
            await asyncio.sleep(0.03)
        assert set(await asyncio.gather(*requests)) == {Reason.TENANT_UNKNOWN, Reason.NOT_READY}

    async def test(process: Process) -> None:
        # All are used once, so that the first ones are evicted; and one is seen in the stream.
        for tenant in TENANTS:
            assert await process.allows(tenant)
        published.publish(changed, 100, A)
        await process.follows()
        proxy.slow_down(round_trip / 2)
        flooding = asyncio.create_task(flood(process))
        await asyncio.sleep(round_trip)
        # One that needs no fetch; the first that needs one, and a connection; then one after the other.
        for tenant in (held, changed, *evicted[:7]):
            began_at = time.monotonic()
            assert await process.allows(tenant), tenant
            seconds.append(time.monotonic() - began_at)
        is_over.set()
        await flooding
        assert process.policies.status().tenants == CAPACITY

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        running(proxy.url, published, test)
    without_fetch, _, *fetched = seconds
    assert without_fetch < round_trip
    # Each in time, as was seen; and most within their own fetch's.
    assert statistics.median(fetched) < 2 * round_trip


@pytest.mark.parametrize("length", [1, 63])
def test_names_are_remembered_within_a_number_of_bytes(length: int) -> None:
    limit = 200_000
    tracemalloc.start()
    names = Names(limit)
    for number in range(3000):
        names.add(f"{number:x}".rjust(length, "x"), time.monotonic())
    # Not what threads of other tests allocate meanwhile.
    ours = [tracemalloc.Filter(inclusive=True, filename_pattern=file) for file in (__file__, names_module.__file__)]
    used = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
    tracemalloc.stop()
    assert limit / 2 < used < 1.1 * limit
    assert f"{2999:x}".rjust(length, "x") in names
    count = len(names)
    names.discard(f"{2999:x}".rjust(length, "x"))
    names.clear()
    for number in range(count):
        names.add(f"{number:x}".rjust(length, "y"))
    assert len(names) == count
