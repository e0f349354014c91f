"""Something else stands in Redis than the policy service writes: a client keeps what it has, says so, and goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from corspolicy import Policies
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower

# For so long it is watched how busy the client is.
WATCHED_SECONDS = 1.5
LAST_ID = "18446744073709551615-18446744073709551615"

Spoil = Callable[[Published], object]


def _replace(key: str, write: Callable[[Any, str], object]) -> Spoil:
    def spoil(published: Published) -> None:
        name = getattr(published.keys, key)
        published.redis.delete(name)
        write(published.redis, name)

    return spoil


SPOILT: dict[str, Spoil] = {
    "documents are a string": _replace("documents", lambda redis, name: redis.set(name, b"text")),
    "documents are a list": _replace("documents", lambda redis, name: redis.rpush(name, b"text")),
    "the epoch is a list": _replace("epoch", lambda redis, name: redis.rpush(name, b"1")),
    "the epoch is not UTF-8": _replace("epoch", lambda redis, name: redis.set(name, b"\xff\xfe")),
    "the epoch is not UTF-8 in the hash either": lambda published: (
        published.redis.set(published.keys.epoch, b"\xff\xfe"),
        published.redis.hset(published.keys.documents, ":epoch", b"\xff\xfe"),
    ),
    "the epoch is very long": _replace("epoch", lambda redis, name: redis.set(name, b"1" * 100_000)),
    "the stream is a string": _replace("changes", lambda redis, name: redis.set(name, b"text")),
    "the stream is at its last possible id": lambda published: (
        published.redis.xadd(published.keys.changes, {"previous": "1-1"}, id=LAST_ID),
        published.redis.delete(published.keys.epoch),
    ),
    "entries are of another form": lambda published: (
        published.redis.delete(published.keys.epoch),
        published.redis.xadd(published.keys.changes, {"tenant": b"\xff", "revision": b"\xb2", "epoch": b"\xff"}),
        published.redis.xadd(published.keys.changes, {"tenant": b"acme", "revision": b"\xb2"}),
        published.redis.xadd(published.keys.changes, {"text": b"text"}),
    ),
    "the processes are a string": lambda published: (
        published.redis.set(published.keys.processes, b"text"),
        published.redis.delete(published.keys.epoch),
    ),
    "the identity is a string": lambda published: (
        published.redis.set(published.keys.identity, b"text"),
        published.redis.delete(published.keys.epoch),
    ),
}


@pytest.fixture
def published(redis_url: str) -> Published:
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    return published


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_is_held_stays_and_nothing_spins(
    published: Published, redis_url: str, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "corspolicy")

    async def test() -> None:
        running, starting = Policies(redis_url), Policies(redis_url, startup_timeout=0.5)
        await running.start()
        spoil(published)
        await starting.start()
        published.redis.config_resetstat()
        await asyncio.sleep(WATCHED_SECONDS)
        calls = sum(command["calls"] for command in published.redis.info("commandstats").values())
        assert calls < 120 * WATCHED_SECONDS
        assert (running.is_ready(), starting.is_ready()) == (True, False)
        assert await Follower(running).allows("acme", A)
        assert not await Follower(starting).allows("acme", A)
        assert 1 < len(caplog.records) < 10
        # The publisher writes everything again, from nothing.
        published.redis.flushdb()
        published.store("acme", published.envelope("acme", 2, B))
        published.end_epoch("2")
        for policies in (running, starting):
            await Follower(policies).until_allows("acme", B)
        published.publish("acme", 3, A)
        for policies in (running, starting):
            await Follower(policies).until_allows("acme", A)
            await policies.stop()

    asyncio.run(test())
