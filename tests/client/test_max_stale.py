"""Policies that became too old grant nothing."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from corspolicy import Policies
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.client.test_last_known_good import allows, nowhere, write
from tests.faults.proxy import Proxy


def test_a_clock_that_was_set_back_does_not_make_a_file_young(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    write(path, Published(redis_url))
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))
    assert asyncio.run(allows(Policies(nowhere(), snapshot_path=path)))
    assert not asyncio.run(allows(Policies(nowhere(), snapshot_path=path, max_stale=3600)))


def test_policies_that_are_too_old_grant_nothing(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    write(path, Published(redis_url))
    yesterday = time.time() - 86_400
    os.utime(path, (yesterday, yesterday))

    async def test(max_stale: float | None) -> tuple[bool, bool, float]:
        policies = Policies(nowhere(), snapshot_path=path, max_stale=max_stale)
        await policies.start()
        follower = Follower(policies)
        if max_stale is not None and max_stale < 86_400:
            await follower.until(lambda: _async(not policies.is_ready()))
        age = policies.status().age
        assert age is not None
        try:
            return await follower.allows("acme", A), policies.is_ready(), age
        finally:
            await policies.stop()

    assert asyncio.run(test(None))[:2] == (True, True)
    assert asyncio.run(test(100_000))[:2] == (True, True)
    allows, is_ready, age = asyncio.run(test(3600))
    assert (allows, is_ready) == (False, False)
    assert 86_390 < age < 86_500


async def _async(value: bool) -> bool:
    return value


def test_policies_become_too_old_without_redis_and_current_again_with_it(redis_url: str) -> None:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)

    async def test() -> None:
        policies = Policies(redis_url, max_stale=3.0)
        await policies.start()
        follower = Follower(policies)
        assert await follower.allows("acme", A)
        # Without an epoch, what is held can't be known to be current.
        published.redis.delete("{corspolicy}:epoch")
        await follower.until_denies("acme", A)
        published.end_epoch("2")
        await follower.until_allows("acme", A)
        await policies.stop()

    asyncio.run(test())


def test_policies_that_have_not_caught_up_are_still_too_old(redis_url: str) -> None:
    published = Published(redis_url)
    published.publish("acme", 1, A)
    published.end_epoch("1")

    async def test(proxy: Proxy) -> None:
        policies = Policies(proxy.url, max_stale=3.0)
        await policies.start()
        follower = Follower(policies)
        assert await follower.allows("acme", A)
        proxy.cut()
        await follower.until(lambda: _async(not policies.is_ready()))
        for revision in range(2, 802):
            published.publish("busy", revision)
        published.publish("acme", 802, B)
        proxy.heal()
        proxy.slow_down(0.1)

        async def applies_the_last() -> bool:
            assert not await follower.allows("acme", A)
            return await follower.allows("acme", B)

        await follower.until(applies_the_last)
        assert policies.is_ready()
        await policies.stop()

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        asyncio.run(test(proxy))
