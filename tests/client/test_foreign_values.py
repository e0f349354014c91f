"""Something else stands in Redis than the policy service writes: a client keeps what it has, says so, and goes on."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from corspolicy import Policies
from corspolicy.sync import last_known_good
from corspolicy.sync.wire import Envelope
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.client.test_last_known_good import HEAD, nowhere

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


# An escape sequence, a C1 one, a bidi override, an invisible one, line breaks of four kinds.
HOSTILE = "\x1b[31m\x9b31m\u202e\u200b\nFORGED\r\u2028FORGED\x85\x00"
SECRET = "s3cr/et@x"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that all loggers write, as a plain handler writes it."""
    written, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(written), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def test_names_documents_epochs_and_reports_of_others_are_logged_plain(
    published: Published, redis_url: str, tmp_path: Path, log: io.StringIO
) -> None:
    redis, keys = published.redis, published.keys
    path = tmp_path / "last-good"
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 1, A)))])

    def unreadable(revision: int) -> bytes:
        document = {"format": 1, "tenant": HOSTILE, "revision": revision, "policies": {HOSTILE * 100: {HOSTILE: 1}}}
        return Envelope(revision, json.dumps(document).encode()).to_bytes()

    async def test() -> None:
        policies = Policies(redis_url, startup_timeout=0.5)
        await policies.start()
        published.publish_envelope("acme", unreadable(10))
        published.publish_envelope(HOSTILE, unreadable(11))
        published.publish_envelope("other", HOSTILE.encode())
        redis.set(keys.report(HOSTILE), HOSTILE)
        redis.zadd(keys.processes, {HOSTILE: 1e12})
        redis.hset(keys.identity, "database", HOSTILE)
        redis.set(keys.epoch, HOSTILE)
        published.announce(epoch=HOSTILE)

        async def has_rejected() -> bool:
            return policies.status().rejections.keys() == {"acme", "other"}

        await Follower(policies).until(has_rejected)
        assert all(why.isprintable() and len(why) < 7000 for why in policies.status().rejections.values())
        # That file is of another database than Redis, which has no snapshot now.
        starting = Policies(redis_url, startup_timeout=1.0, snapshot_path=path)
        await starting.start()
        for each in (policies, starting):
            await each.stop()
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("corspolicy").exception("a failure")

    asyncio.run(test())
    text = log.getvalue()
    assert all(line.isprintable() and not line.startswith("FORGED") for line in text.split("\n")), text
    assert r"document of tenant acme at revision 10 is unreadable and was not applied: policy \x1b[31m" in text
    assert re.search(r"ignoring the last-known-good file .* of database database, and Redis of \\x1b", text)
    assert r"  FORGED\r\u2028FORGED\x85\x00" in text


def test_no_password_is_logged(published: Published, redis_url: str, log: io.StringIO) -> None:
    def urls(password: str) -> list[str]:
        login = f"redis://limited:{quote(password, safe='')}@"
        return [login + redis_url.rpartition("@")[2], nowhere().replace("redis://", login)]

    published.redis.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", "+@all")

    async def test() -> None:
        right, *others = [Policies(url, startup_timeout=0.3) for url in (*urls(SECRET), *urls(f"{SECRET}-wrong"))]
        for policies in (right, *others):
            await policies.start()
        assert right.is_ready()
        published.redis.execute_command("ACL", "DELUSER", "limited")

        async def has_lost() -> bool:
            return not right.status().connected

        await Follower(right).until(has_lost)
        for policies in (right, *others):
            await policies.stop()

    asyncio.run(test())
    text = log.getvalue()
    assert text.count("lost Redis") >= 4
    for form in (SECRET, quote(SECRET), quote(SECRET, safe=""), "s3cr"):
        assert form not in text
