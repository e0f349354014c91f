"""A process keeps its last-known-good file: when it writes what, beside others, and after them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from corspolicy import Policies, Reason
from corspolicy.core.decision import decide
from corspolicy.sync import last_known_good
from corspolicy.sync.last_known_good import Head
from corspolicy.sync.wire import Keys, mark
from tests.client.published import Published
from tests.client.test_feed import A, Follower
from tests.client.test_last_known_good import allows, nowhere
from tests.client.test_starts import store_many
from tests.faults.proxy import Proxy
from tests.support import ROOT


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
    assert not asyncio.run(allows(Policies(nowhere(), snapshot_path=path, startup_timeout=2.0)))


def test_a_process_that_is_behind_does_not_overwrite_what_another_has_written(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.publish("acme", 1, A)
    published.end_epoch("1")

    async def test(proxy: Proxy) -> None:
        near, far = Policies(redis_url, snapshot_path=path), Policies(proxy.url, snapshot_path=path)
        for policies in (near, far):
            await policies.start()
        # The far one learns of the first change when the near one has written the second already.
        proxy.slow_down(0.8)
        newest = 0
        for revision in (2, 4):
            published.publish("acme", revision, A)
            published.publish("acme", revision + 1, A)
            while far.status().revision != revision + 1:
                found = await asyncio.to_thread(_revision, path)
                assert found >= newest
                newest = found
                await asyncio.sleep(0.005)
            assert newest == revision + 1
        for policies in (near, far):
            await policies.stop()

    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        asyncio.run(test(proxy))


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
    assert asyncio.run(run(nowhere(), "tenant-2")) == (True, Reason.NOT_READY)


def test_what_the_file_is_of_is_written_into_it(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url, Keys("staging"))
    published.redis.hset(published.keys.identity, "database", "one")
    published.publish("acme", 7, A)
    published.end_epoch("3")

    async def test() -> None:
        policies = Policies(published.url, namespace="staging", snapshot_path=path)
        await policies.start()
        await Follower(policies).until(lambda: asyncio.to_thread(lambda: _revision(path) == 7))
        cursor = policies.status().cursor
        await policies.stop()
        digest = f"{mark('acme', 7):016x}"
        assert last_known_good.read(path).head == Head("staging", "one", "3", cursor, 7, digest, True)

    asyncio.run(test())


def test_what_another_process_has_written_already_is_confirmed(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    published.publish("acme", 1, A)
    published.end_epoch("1")

    async def test() -> None:
        first, second = Policies(redis_url, snapshot_path=path), Policies(redis_url, snapshot_path=path)
        await first.start()
        await Follower(first).until(lambda: asyncio.to_thread(lambda: _revision(path) == 1))
        written = path.stat().st_ino
        yesterday = time.time() - 86_400
        os.utime(path, (yesterday, yesterday))
        await second.start()
        await Follower(second).until(lambda: asyncio.to_thread(lambda: path.stat().st_mtime > yesterday + 1))
        assert path.stat().st_ino == written
        for policies in (first, second):
            await policies.stop()

    asyncio.run(test())
