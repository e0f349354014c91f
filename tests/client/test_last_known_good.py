"""A start without Redis, and policies that became too old."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from corspolicy import Policies, Reason
from corspolicy.core.decision import decide
from corspolicy.sync import last_known_good
from corspolicy.sync.last_known_good import Head
from corspolicy.sync.wire import Envelope, Keys
from tests.client.published import Published
from tests.client.test_feed import A, B, Follower
from tests.client.test_starts import store_many
from tests.faults.proxy import Proxy
from tests.support import ROOT, free_port


def _nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


HEAD = Head("corspolicy", "database", "1", "1-0", 1, True)


def _write(path: Path, published: Published) -> None:
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 1, A)))])


async def _allows(policies: Policies) -> bool:
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
    assert asyncio.run(_allows(Policies(_nowhere(), snapshot_path=path, startup_timeout=60)))
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
    assert not asyncio.run(_allows(Policies(_nowhere(), snapshot_path=path, startup_timeout=0.5)))
    assert "ignoring the last-known-good file" in caplog.text


def test_redis_replaces_what_the_file_had(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 99, A)))])
    published.end_epoch("1")
    published.publish("acme", 1)
    assert not asyncio.run(_allows(Policies(redis_url, snapshot_path=path)))


def _tenants(path: Path) -> set[str]:
    """The tenants that the file has now."""
    return {tenant for line in path.read_bytes().splitlines() if line[:1] == b"[" for tenant in json.loads(line)[:1]}


def _revision(path: Path) -> int:
    """That of tenant acme in the file; 0 while there is none."""
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            if line.startswith(b'["acme"'):
                return int(json.loads(line)[1].split(" ")[0])
    return 0


def test_a_starting_process_does_not_overwrite_the_file_before_it_has_a_snapshot(
    redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    store_many(published, 1000)

    async def run(url: str, *, is_watched: bool) -> None:
        policies = Policies(url, snapshot_path=path)
        starting = asyncio.create_task(policies.start())
        revision = 5000
        while not starting.done():
            if is_watched:
                # Changes come while the snapshot is read.
                revision += 1
                published.publish("acme", revision, A)
                assert len(_tenants(path)) == 1001
            await asyncio.sleep(0.1)
        await Follower(policies).until(lambda: asyncio.to_thread(lambda: _revision(path) >= max(1, revision - 5000)))
        assert len(_tenants(path)) == 1001
        await policies.stop()

    asyncio.run(run(redis_url, is_watched=False))
    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        proxy.slow_down(0.1)
        asyncio.run(run(proxy.url, is_watched=True))


def test_each_change_reaches_the_file_soon_and_the_last_one_with_the_stop(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.end_epoch("1")

    async def test() -> None:
        policies = Policies(redis_url, snapshot_path=path)
        await policies.start()
        for revision in range(1, 6):
            published.publish("acme", revision, A)
            await policies.wait_for(revision, timeout=20)
            wrote_at = time.monotonic()
            while await asyncio.to_thread(_revision, path) != revision:
                assert time.monotonic() - wrote_at < 2.0
                await asyncio.sleep(0.01)
        published.publish("acme", 6)
        await policies.wait_for(6, timeout=20)
        await policies.stop()
        assert _revision(path) == 6

    asyncio.run(test())
    # An origin that was removed is not allowed again by a restart without Redis.
    assert not asyncio.run(_allows(Policies(_nowhere(), snapshot_path=path, startup_timeout=2.0)))


def test_a_process_that_is_behind_does_not_overwrite_what_another_has_written(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.publish("acme", 1, A)
    published.end_epoch("1")

    async def test(slow_url: str) -> None:
        near, far = Policies(redis_url, snapshot_path=path), Policies(slow_url, snapshot_path=path)
        for policies in (near, far):
            await policies.start()
        newest = 0
        for revision in range(2, 30):
            published.publish("acme", revision, A)
            deadline = time.monotonic() + 0.15
            while time.monotonic() < deadline:
                found = await asyncio.to_thread(_revision, path)
                assert found >= newest
                newest = found
                await asyncio.sleep(0.005)
        await Follower(far).until(lambda: asyncio.to_thread(lambda: _revision(path) == 29))
        for policies in (near, far):
            await policies.stop()

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        proxy.slow_down(0.3)
        asyncio.run(test(proxy.url))


_START = """
import asyncio, sys, time
from corspolicy import Policies

async def run():
    policies = Policies(sys.argv[1], snapshot_path=sys.argv[2], startup_timeout=1.0)
    began_at = time.monotonic()
    await policies.start()
    assert time.monotonic() - began_at < 3.0
    assert not policies.is_ready()
    await policies.stop()

asyncio.run(run())
"""


def test_a_file_that_cannot_be_read_to_its_end_holds_up_neither_start_nor_stop(tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    # Opening it waits for a writer, as reading from a file server does that has gone.
    os.mkfifo(path)
    command = [sys.executable, "-c", _START, _nowhere(), str(path)]
    done = subprocess.run(command, cwd=ROOT, timeout=15, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_clock_that_was_set_back_does_not_make_a_file_young(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    _write(path, Published(redis_url))
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))
    assert asyncio.run(_allows(Policies(_nowhere(), snapshot_path=path)))
    assert not asyncio.run(_allows(Policies(_nowhere(), snapshot_path=path, max_stale=3600)))


_WRITE = """
import sys, time
from pathlib import Path
from corspolicy.sync import last_known_good
from corspolicy.sync.wire import Envelope
from tests.client.test_last_known_good import HEAD

def envelopes():
    for number in range(10_000):
        yield f"tenant-{number}", Envelope(number, b"{}")
    print("in the middle", flush=True)
    time.sleep(60)

last_known_good.write(Path(sys.argv[1]), HEAD, envelopes())
"""


def test_what_a_killed_writer_has_left_is_removed_at_the_next_start(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    Published(redis_url).end_epoch("1")
    other = tmp_path / ".other.tmp"
    other.touch()
    writers = []
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", _WRITE, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"in the middle\n"
        writers.append(writer)
    first, second = (left for left in tmp_path.iterdir() if left != other)
    killed, alive = writers
    killed.kill()
    killed.communicate()
    # Of the two, one was last written to long ago; the other is being written.
    os.utime(first, (time.time() - 3600,) * 2)
    os.utime(other, (time.time() - 3600,) * 2)

    async def test() -> None:
        policies = Policies(redis_url, snapshot_path=path)
        await policies.start()
        await Follower(policies).until(lambda: asyncio.to_thread(lambda: path.exists() and not first.exists()))
        assert second.exists()
        await policies.stop()

    asyncio.run(test())
    assert other.exists()
    alive.kill()
    alive.communicate()


def test_a_file_of_a_process_with_more_tenants_than_fit_is_not_all_there_is(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.end_epoch("1")
    published.publish("acme", 1, A)
    store_many(published, 10)

    async def run(url: str, other: str) -> tuple[bool, Reason]:
        policies = Policies(url, snapshot_path=path, capacity=2, startup_timeout=2.0)
        await policies.start()
        follower = Follower(policies)
        allows = await follower.allows("acme", A)
        await follower.until(lambda: asyncio.to_thread(lambda: _revision(path) == 1))
        assert not policies.status().complete
        chain = await policies.chain("billing", other)
        await policies.stop()
        return allows, decide(chain, "GET", [(b"origin", A.encode())], time.time()).reason

    assert asyncio.run(run(redis_url, "tenant-1")) == (True, Reason.ALLOWED)
    # It may exist, and is not said to be unknown.
    assert asyncio.run(run(_nowhere(), "tenant-2")) == (True, Reason.NOT_READY)


@pytest.mark.parametrize(("namespace", "database"), [("staging", "database"), ("corspolicy", "another")])
def test_a_file_of_another_namespace_or_database_is_ignored(
    redis_url: str, tmp_path: Path, namespace: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    head = HEAD._replace(namespace=namespace, database=database)
    last_known_good.write(path, head, [("acme", Envelope.from_bytes(published.envelope("acme", 1, A)))])
    # Redis is there, and is being written to.
    published.redis.hset(published.keys.identity, "database", "database")
    assert not asyncio.run(_allows(Policies(redis_url, snapshot_path=path, startup_timeout=1.0)))
    assert f"{namespace if namespace != 'corspolicy' else database}, " in caplog.text


def test_what_the_file_is_of_is_written_into_it(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url, Keys("staging"))
    published.redis.hset(published.keys.identity, "database", "one")
    published.publish("acme", 7, A)
    published.end_epoch("3")

    async def test() -> None:
        policies = Policies(redis_url, namespace="staging", snapshot_path=path)
        await policies.start()
        await Follower(policies).until(lambda: asyncio.to_thread(lambda: _revision(path) == 7))
        cursor = policies.status().cursor
        await policies.stop()
        assert last_known_good.read(path).head == Head("staging", "one", "3", cursor, 7, True)

    asyncio.run(test())


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
        proxy.slow_down(0.2)

        async def applies_the_last() -> bool:
            assert not await follower.allows("acme", A)
            return await follower.allows("acme", B)

        await follower.until(applies_the_last)
        assert policies.is_ready()
        await policies.stop()

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        asyncio.run(test(proxy))
