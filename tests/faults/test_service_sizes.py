"""What one tenant with large documents does to Redis and to the publisher: bounded in bytes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import text

from corspolicy.sync.wire import INLINE_BYTES, Keys
from policy_service.publisher import store
from policy_service.publisher.connection import create_leader_engine
from policy_service.publisher.lead import WRITE_BYTES, parts_of
from tests.faults.line import NEW, OLD, Line
from tests.service.helpers import driver_url

KEYS = Keys()
T = TypeVar("T")


def _large(origin: str) -> dict[str, Any]:
    """A policy of well over 8 KiB that allows `origin`."""
    return {"allow_origins": [origin, *(f"https://{secrets.token_hex(20)}.example.com" for _ in range(200))]}


def test_the_stream_has_small_documents_and_of_large_ones_the_revision(line: Line) -> None:
    tenant, small = line.new_tenant(), line.new_tenant()
    for _ in range(3):
        assert line.api.put_policy(tenant, _large(OLD)).status_code == 200
    assert line.api.put_policy(tenant, _large(NEW)).status_code == 200
    line.change(small)
    line.wait_until_shown(tenant, NEW)
    line.wait_until_shown(small, NEW)
    redis: Any = line.published.redis
    entries = [fields for _, fields in redis.xrange(KEYS.changes)]
    assert all(len(fields.get(b"envelope", b"")) <= INLINE_BYTES for fields in entries)
    held = redis.hget(KEYS.documents, tenant)
    assert len(held) > INLINE_BYTES
    last = [fields for fields in entries if fields.get(b"tenant") == tenant.encode()][-1]
    assert last[b"revision"] == held.partition(b" ")[0]
    assert b"envelope" not in last
    line.follows()


def _on(url: str, use: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        engine = create_leader_engine(driver_url(url))
        try:
            async with engine.connect() as connection:
                return await use(connection)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def test_a_batch_holds_so_many_bytes_and_at_least_one_document(line: Line) -> None:
    """As they are, not as PostgreSQL compresses them."""
    sizes = [400_000, 400_000, 400_000, 2_000_000, 10]

    async def insert_and_read(connection: Any) -> list[list[int]]:
        batches: list[list[int]] = []
        await connection.execute(text("CREATE TEMPORARY TABLE changes (LIKE public.changes INCLUDING ALL)"))
        insert = text(
            "INSERT INTO changes (revision, tenant, actor, action, after)"
            " VALUES (:revision, 'a', 'test', 'test', jsonb_build_object('text', CAST(:text AS text)))"
        )
        for revision, size in enumerate(sizes):
            await connection.execute(insert, {"revision": revision, "text": "x" * size})
        while batch := await store.unpublished(connection):
            batches.append([change.revision for change in batch])
            await store.mark_published(connection, batches[-1])
        return batches

    assert _on(line.database_url, insert_and_read) == [[0, 1], [2], [3], [4]]


def test_what_is_written_at_once_is_bounded_too() -> None:
    """A document that PostgreSQL can compress well is as large in Redis as it is."""
    sizes = [WRITE_BYTES // 2, WRITE_BYTES // 2, 1, 3 * WRITE_BYTES, 1]
    parts = parts_of(("a", revision, b"x" * size) for revision, size in enumerate(sizes))
    assert [[revision for _, revision, _ in part] for part in parts] == [[0, 1], [2], [3], [4]]
