"""A start without Redis, and policies that became too old."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corspolicy import Policies
from corspolicy.sync import last_known_good
from corspolicy.sync.last_known_good import Head
from corspolicy.sync.wire import Envelope
from tests.client.published import Published
from tests.client.test_feed import A, Follower
from tests.support import ROOT, free_port


def nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


HEAD = Head("corspolicy", "database", "1", "1-0", 1, "0" * 16, True)


def write(path: Path, published: Published) -> None:
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 1, A)))])


async def allows(policies: Policies) -> bool:
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
    assert asyncio.run(allows(Policies(nowhere(), snapshot_path=path, startup_timeout=60)))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "version", "empty", "folder"])
def test_a_file_of_no_use_is_no_reason_not_to_start(
    redis_url: str, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last-good"
    write(path, Published(redis_url))
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
    assert not asyncio.run(allows(Policies(nowhere(), snapshot_path=path, startup_timeout=0.5)))
    assert "ignoring the last-known-good file" in caplog.text


def test_redis_replaces_what_the_file_had(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    published = Published(redis_url)
    last_known_good.write(path, HEAD, [("acme", Envelope.from_bytes(published.envelope("acme", 99, A)))])
    published.end_epoch("1")
    published.publish("acme", 1)
    assert not asyncio.run(allows(Policies(redis_url, snapshot_path=path)))


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
    command = [sys.executable, "-c", _START, nowhere(), str(path)]
    done = subprocess.run(command, cwd=ROOT, timeout=15, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    assert not asyncio.run(allows(Policies(redis_url, snapshot_path=path, startup_timeout=1.0)))
    assert f"{namespace if namespace != 'corspolicy' else database}, " in caplog.text
