"""A start without Redis, and policies that became too old."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from corspolicy import Policies
from corspolicy.sync import last_known_good
from corspolicy.sync.last_known_good import Head
from corspolicy.sync.wire import Envelope
from tests.client.published import Published
from tests.client.test_feed import A, Follower
from tests.support import free_port


def _nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


HEAD = Head("corspolicy", "database", "1", "1-0", 1, True)


def _write(path: Path, published: Published) -> None:
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 1, A)))])


async def _admits(policies: Policies) -> bool:
    try:
        return await Follower(policies).allows("acme", A)
    finally:
        await policies.stop()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    envelopes = {"acme": Envelope(1, b'{"a": "\xc3\xa9"}'), "gone": Envelope(7, None), "odd": Envelope(2, b"\xff\n")}
    last_known_good.write(path, HEAD, envelopes.items())
    found = last_known_good.read(path)
    assert found.envelopes == envelopes
    assert found.head == HEAD
    assert found.age is not None
    assert found.age < 60
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last-good"
    last_known_good.write(path, HEAD, [("acme", Envelope(1, b"{}"))])

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        last_known_good.write(path, HEAD, [])
    assert set(last_known_good.read(path).envelopes) == {"acme"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_start_without_redis_goes_on_with_the_file_at_once(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)

    async def follow_and_save() -> None:
        policies = Policies(redis_url, snapshot_path=path)
        await policies.start()
        await Follower(policies).until(lambda: asyncio.to_thread(path.exists))
        await policies.stop()

    asyncio.run(follow_and_save())
    started = time.monotonic()
    assert asyncio.run(_admits(Policies(_nowhere(), snapshot_path=path, startup_timeout=60)))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "version", "empty", "folder"])
def test_a_file_of_no_use_is_no_reason_not_to_start(
    redis_url: str, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last-good"
    _write(path, Published(redis_url))
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        damaged = {
            "cut": data[:-5],
            "flipped": data[:-5] + b"X" + data[-4:],
            "version": data.replace(b"good 2", b"good 1"),
            "empty": b"",
        }
        path.write_bytes(damaged[damage])
    assert not asyncio.run(_admits(Policies(_nowhere(), snapshot_path=path, startup_timeout=0.5)))
    assert "ignoring the last-known-good file" in caplog.text


def test_redis_replaces_what_the_file_had(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 99, A)))])
    published.end_epoch("1")
    published.publish("acme", 1)
    assert not asyncio.run(_admits(Policies(redis_url, snapshot_path=path)))


def test_policies_that_are_too_old_grant_nothing(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    _write(path, Published(redis_url))
    yesterday = time.time() - 86_400
    os.utime(path, (yesterday, yesterday))

    async def test(max_stale: float | None) -> tuple[bool, bool, float]:
        policies = Policies(_nowhere(), snapshot_path=path, max_stale=max_stale)
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
    admits, is_ready, age = asyncio.run(test(3600))
    assert (admits, is_ready) == (False, False)
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
