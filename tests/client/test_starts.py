"""How a process starts: over a slow line, without an epoch, known to the policy service before it serves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from corspolicy import CORSPolicyMiddleware, Policies
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.faults.proxy import Proxy, Way

MANY = 2000
LARGE_BYTES = 100_000


@pytest.fixture
def published(redis_url: str) -> Published:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    return published


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        yield proxy


def store_many(published: Published, count: int, padding: int = 0) -> None:
    """Tenants `tenant-0` and so on, who allow A, of that many bytes more than it takes."""
    pipeline = published.redis.pipeline(transaction=False)
    for number in range(count):
        tenant = f"tenant-{number}"
        envelope = published.envelope(tenant, number + 1, A) + b" " * padding
        pipeline.hset(published.keys.documents, tenant, envelope)
    pipeline.execute()


def reports(published: Published) -> list[dict[str, Any]]:
    """What processes have reported."""
    ids = [name.decode() for name in published.redis.zrange(published.keys.processes, 0, -1)]
    found = [published.redis.get(published.keys.report(name)) for name in ids]
    return [json.loads(report) for report in found if report is not None]


def test_a_snapshot_that_is_coming_in_is_waited_for_beyond_the_start_up_timeout_and_reported_all_the_while(
    published: Published, proxy: Proxy
) -> None:
    store_many(published, MANY)
    proxy.slow_down(0.15)

    async def test() -> float:
        policies = Policies(proxy.url, startup_timeout=3.0)
        began_at = time.monotonic()
        follower = Follower(policies)

        async def start() -> float:
            await policies.start()
            assert policies.is_ready()
            return time.monotonic() - began_at

        starting = asyncio.create_task(start())
        await follower.until(lambda: asyncio.to_thread(lambda: bool(reports(published))))
        while not starting.done():
            (name,) = published.redis.zrange(published.keys.processes, 0, -1)
            # It is sent again in time: nobody may take this process for one that has ended.
            assert published.redis.pttl(published.keys.report(name.decode())) > 7000
            await asyncio.sleep(0.05)
        took = await starting
        assert await follower.allows(f"tenant-{MANY - 1}", A)
        await policies.stop()
        return took

    assert asyncio.run(test()) > 4.5


def test_a_snapshot_that_makes_no_progress_is_not_waited_for(published: Published, proxy: Proxy) -> None:
    async def test() -> None:
        policies = Policies(proxy.url, startup_timeout=1.0)
        with proxy.holding(b"HSCAN", Way.DOWN) as wait_until_held:
            began_at = time.monotonic()
            starting = asyncio.create_task(policies.start())
            await asyncio.to_thread(wait_until_held)
            await starting
            assert 0.9 < time.monotonic() - began_at < 4.0
            assert not policies.is_ready()
            assert not policies.status().ready
        await Follower(policies).until_allows("acme", A)
        assert policies.is_ready()
        await policies.stop()

    asyncio.run(test())


@pytest.mark.parametrize("capacity", [1000, 100], ids=["all", "on demand"])
def test_large_documents_come_over_a_slow_line_in_smaller_pages(
    published: Published, proxy: Proxy, capacity: int
) -> None:
    count = 250 if capacity == 1000 else 120
    store_many(published, count, LARGE_BYTES)
    # A page of 200 would take longer than silence is waited for.
    proxy.throttle(3_500_000)

    async def test() -> None:
        policies = Policies(proxy.url, capacity=capacity)
        follower = Follower(policies)
        await policies.start()
        assert policies.status().complete is (capacity == 1000)
        tenants = [f"tenant-{number}" for number in range(min(count, capacity))]

        async def all_allow() -> bool:
            return all(await asyncio.gather(*[follower.allows(tenant, A) for tenant in tenants]))

        await follower.until(all_allow)
        await policies.stop()

    asyncio.run(test())


def test_a_process_reports_before_it_takes_its_first_snapshot(published: Published, proxy: Proxy) -> None:
    async def test() -> None:
        policies = Policies(proxy.url)
        with proxy.holding(b"HSCAN", Way.UP) as wait_until_held:
            starting = asyncio.create_task(policies.start())
            await asyncio.to_thread(wait_until_held)
            (report,) = await asyncio.to_thread(reports, published)
            assert (report["epoch"], report["ready"]) == (None, False)
            published.publish("acme", 2, B)
        await starting
        follower = Follower(policies)
        await follower.until_denies("acme", A)

        def has_applied() -> bool:
            (report,) = reports(published)
            return (report["epoch"], report["revision"], report["ready"]) == ("1", 2, True)

        await follower.until(lambda: asyncio.to_thread(has_applied))
        await policies.stop()

    asyncio.run(test())


@pytest.mark.parametrize("lost", ["documents", "epoch"])
def test_documents_without_their_epoch_are_no_snapshot(published: Published, redis_url: str, lost: str) -> None:
    async def test() -> None:
        running = Policies(redis_url)
        await running.start()
        published.redis.delete(getattr(published.keys, lost))
        if lost == "documents":
            # What is published after that does not make it whole.
            published.publish("other", 2, A)
        starting = Policies(redis_url, startup_timeout=0.5)
        await starting.start()
        assert not starting.is_ready()
        assert not starting.status().ready
        # It finds that out, and keeps what it has.
        follower = Follower(running)

        def misses_something() -> bool:
            return any(report["ready"] and report["epoch"] is None for report in reports(published))

        await follower.until(lambda: asyncio.to_thread(misses_something))
        assert await follower.allows("acme", A)
        published.publish("acme", 3, B)
        published.end_epoch("2")
        for policies in (running, starting):
            await Follower(policies).until_allows("acme", B)
            assert policies.is_ready()
            await policies.stop()

    asyncio.run(test())


def test_a_process_that_stops_signs_off(published: Published, redis_url: str) -> None:
    async def test() -> None:
        stopping, staying = Policies(redis_url), Policies(redis_url)
        for policies in (stopping, staying):
            await policies.start()
        follower = Follower(staying)
        await follower.until(lambda: asyncio.to_thread(lambda: len(reports(published)) == 2))
        await stopping.stop()
        assert await asyncio.to_thread(lambda: len(reports(published))) == 1
        assert published.redis.zcard(published.keys.processes) == 1
        await staying.stop()
        assert published.redis.zcard(published.keys.processes) == 0
        assert published.redis.keys(published.keys.report("*")) == []

    asyncio.run(test())


def test_without_asyncio_a_start_says_so(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    policies = Policies(redis_url)
    starting, stopping = policies.start(), policies.stop()
    # As another event loop would run them.
    with pytest.raises(RuntimeError, match="needs asyncio"):
        starting.send(None)
    with pytest.raises(StopIteration):
        stopping.send(None)
    (record,) = caplog.records
    assert "trio" in record.message


def test_without_asyncio_the_start_of_an_application_fails_and_requests_are_denied_without_a_word(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"acme.example.com"), (b"origin", A.encode())]
    request = {"type": "http", "method": "GET", "headers": headers, "path": "/"}

    def serve(middleware: CORSPolicyMiddleware, *scopes: Any) -> None:
        # As another event loop would run them.
        for scope in scopes:
            with pytest.raises((StopIteration, RuntimeError), match=r"needs asyncio|^$"):
                middleware(scope, receive, send).send(None)

    def new() -> CORSPolicyMiddleware:
        return CORSPolicyMiddleware(application, service="billing", tenant="acme", policies=Policies(redis_url))

    serve(new(), {"type": "lifespan"}, request, request)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed", *["http.response.start"] * 2]
    assert "serve this application with asyncio" in sent[0]["message"]
    # Where a server has no lifespan, the first request says it.
    serve(new(), request, request)
    assert all(message["headers"] == [(b"vary", b"Origin")] for message in sent[1:])
    assert [record.levelname for record in caplog.records] == ["CRITICAL"] * 2
    assert all("trio" in record.message and record.exc_info is None for record in caplog.records)
