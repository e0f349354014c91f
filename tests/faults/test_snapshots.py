"""The stream is not what a client expects: cut past its cursor, changed by hand; or moves on during a snapshot."""

from __future__ import annotations

import secrets
import signal
from typing import Any

import pytest

from corspolicy.core.document import MAX_BYTES
from tests.faults.line import NEW, OLD, STREAM_LENGTH, Line
from tests.faults.proxy import Way
from tests.keys import CHANGES, DOCUMENTS, EPOCH
from tests.support import wait_until

# More than fit in one page of a snapshot, and more than Redis keeps in one piece.
MANY_TENANTS = 700
# Else it could be read, and would allow NEW.
LARGE = b'{"format":1,"tenant":"t","revision":1,"policies":{"default":{"allow_origins":["%b"]}}}' % NEW.encode()
LARGE += b" " * MAX_BYTES


@pytest.mark.parametrize("length", [1, 0])
def test_the_stream_is_cut_past_the_cursor_of_a_client_that_is_away(line: Line, length: int) -> None:
    tenant, busy, other = line.new_tenant(), line.new_tenant(), line.new_tenant()
    line.proxy.cut()
    try:
        line.change(tenant)
        for number in range(STREAM_LENGTH + 2):
            line.put(busy, f"https://{number}.example.com")
        line.change(busy)
        line.wait_until_shown(busy, NEW, line.near)
        line.wait_until_shown(tenant, NEW, line.near)
        # The publisher cuts in whole nodes of the stream only.
        line.published.redis.xtrim(CHANGES, maxlen=length, approximate=False)
        assert line.shows(line.far, tenant, OLD)
    finally:
        line.proxy.heal()
    line.recovers(f"stream cut past the cursor, {length} entries left", tenant, keeping=other)
    line.recovers(f"stream cut past the cursor, {length} entries left", busy)
    line.follows()


@pytest.mark.parametrize("way", Way)
def test_a_change_during_a_snapshot(line: Line, way: Way) -> None:
    tenants = [line.new_tenant() for _ in range(3)]
    # Before the documents are read, or after that and before the client has them.
    with line.proxy.holding(b"HSCAN", way) as wait_until_held:
        miss_something(line)
        wait_until_held()
        for tenant in tenants:
            line.change(tenant)
            line.wait_until_shown(tenant, NEW, line.near)
    for tenant in tenants:
        line.recovers(f"change during a snapshot, its request held on the way {way.value}", tenant)
    line.follows()


@pytest.mark.parametrize("way", Way)
def test_a_change_and_a_new_epoch_during_a_snapshot(line: Line, way: Way) -> None:
    tenant, deleted, other = line.new_tenant(), line.new_tenant(), line.new_tenant()
    epoch = line.published.redis.get(EPOCH)
    with line.proxy.holding(b"HSCAN", way) as wait_until_held:
        miss_something(line)
        wait_until_held()
        line.published.redis.flushall()
        line.change(tenant)
        line.api.delete_tenant(deleted)
        wait_until(lambda: line.published.redis.get(EPOCH) not in (None, epoch), "everything is written again")
        line.wait_until_shown(tenant, NEW, line.near)
        assert line.shows(line.far, tenant, OLD)
    line.recovers(f"new epoch during a snapshot, its request held on the way {way.value}", tenant, keeping=other)
    line.wait_until_shown(deleted, None)
    line.follows()


def test_redis_is_emptied_during_a_snapshot(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    with line.proxy.holding(b"HSCAN", Way.UP) as wait_until_held:
        miss_something(line)
        wait_until_held()
        # Nobody writes anything again, for now.
        line.service.signal(signal.SIGSTOP)
        line.published.redis.flushall()
    try:
        # At the end of the snapshot the client asks for the epoch, and then again and again.
        for _ in range(3):
            with line.proxy.holding(EPOCH.encode(), Way.UP) as wait_until_held:
                wait_until_held()
        for client in line.clients:
            assert line.shows(client, other, OLD)
    finally:
        line.service.signal(signal.SIGCONT)
    line.change(tenant)
    line.recovers("FLUSHALL during a snapshot", tenant, keeping=other)
    line.follows()


def test_changes_between_the_pages_of_a_snapshot(line: Line) -> None:
    tenants = [line.new_tenant() for _ in range(8)]
    deleted, other = line.new_tenant(), line.new_tenant()
    # Written behind the publisher's back, and published when it rewrites everything.
    with line.sql() as sql:
        sql(
            "INSERT INTO tenants (slug, revision, document) SELECT 'bulk-' || n, nextval('revisions'), document"
            " FROM tenants, generate_series(1, $1::int) AS n WHERE slug = $2",
            *(MANY_TENANTS, other),
        )
    line.published.redis.flushall()
    line.wait_until_shown("bulk-1", OLD)
    line.wait_until_shown(f"bulk-{MANY_TENANTS}", OLD)
    with line.proxy.holding(b"HSCAN", Way.DOWN) as wait_until_held:
        miss_something(line)
        wait_until_held()
        for tenant in tenants:
            line.change(tenant)
        line.api.delete_tenant(deleted)
        line.wait_until_shown(deleted, None, line.near)
        line.wait_until_shown(tenants[-1], NEW, line.near)
    for tenant in tenants:
        line.recovers("change between the pages of a snapshot", tenant, keeping=other)
    line.wait_until_shown(deleted, None)
    line.wait_until_shown("bulk-7", OLD)


def test_entries_that_come_again_or_late_or_with_no_order(line: Line) -> None:
    tenant = line.new_tenant()
    old, revision = envelope_and_revision(line, tenant)
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    new, _ = envelope_and_revision(line, tenant)
    redis: Any = line.published.redis
    for envelope in (old, new, old, line.published.envelope(tenant, revision - 1, OLD)):
        line.published.announce(tenant=tenant, envelope=envelope)
    line.follows()
    line.wait_until_shown(tenant, NEW)
    # With wrong links, too: each asks for a snapshot, which must not bring back anything either.
    for previous in (b"0-0", redis.xrange(CHANGES, count=1)[0][0]):
        redis.xadd(CHANGES, {"tenant": tenant, "envelope": old, "previous": previous})
    line.follows()
    line.wait_until_shown(tenant, NEW)
    line.put(tenant, OLD)
    line.recovers("entries repeated and reordered", tenant, OLD)


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b'{"format":99}', None, LARGE],
    ids=["cut", "list", "format from the future", "envelope", "too large"],
)
def test_a_document_that_cannot_be_read(line: Line, payload: bytes | None) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    _, revision = envelope_and_revision(line, tenant)
    garbage = b"not an envelope" if payload is None else b"%d %s" % (revision + 1, payload)
    # As a change and in the documents; then every client reads those again.
    line.published.announce(tenant=tenant, envelope=garbage)
    line.published.store(tenant, garbage)
    line.change(other)
    line.recovers("another tenant's document is unreadable, change", other)
    line.wait_until_shown(tenant, OLD)
    wait_until(lambda: all(tenant in refused for refused in rejections(line)), "every process reports it")
    miss_something(line)
    line.follows()
    line.wait_until_shown(tenant, OLD)
    line.change(tenant)
    line.recovers("the tenant's document is unreadable, next change", tenant)
    line.follows()
    wait_until(lambda: not any(tenant in refused for refused in rejections(line)), "no process reports it any more")


def rejections(line: Line) -> list[dict[str, str]]:
    """What each process says that it could not read, by tenant."""
    refused = [process["rejections"] for process in line.api.http.get("/v1/fleet").json()["processes"]]
    assert len(refused) >= len(line.clients)
    return refused


def miss_something(line: Line) -> None:
    """Make every client find that it has missed an entry."""
    line.published.redis.xadd(CHANGES, {"previous": f"1-{secrets.randbelow(10**9)}"})


def envelope_and_revision(line: Line, tenant: str) -> tuple[bytes, int]:
    """What is published of a tenant."""
    envelope: Any = line.published.redis.hget(DOCUMENTS, tenant)
    return envelope, int(envelope.split(b" ")[0])
