"""What is answered at once is bounded in bytes, uncompressed, as well as in number."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from policy_service.database import PAGE_BYTES
from tests.service.following import Following
from tests.service.helpers import execute, rows
from tests.support import Api, Process, wait_until

LARGE, COUNT = 200_000, 150
# What PostgreSQL compresses to next to nothing.
DIFFERENCE = f"""jsonb_build_array(jsonb_build_object('words', repeat('x', {LARGE}), 'op', 'add'))"""


@pytest.fixture(scope="module")
def tenant(service: Process, api: Api) -> str:
    """A tenant with many changes of large differences, as older versions stored them."""
    tenant = api.new_tenant()
    execute(
        service.environment["CORSPOLICY_DATABASE_URL"],
        "INSERT INTO changes (revision, tenant, actor, action, difference, compacted_at)"
        f" SELECT nextval('revisions'), '{tenant}', 'x', 'x', {DIFFERENCE}, now() FROM generate_series(1, {COUNT})",
    )
    unpublished = "SELECT count(*) FROM changes WHERE published_at IS NULL"
    wait_until(
        lambda: rows(service.environment["CORSPOLICY_DATABASE_URL"], unpublished) == [(0,)], "they are published"
    )
    return tenant


def _pages(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = api.http.get(path, params={**query, **({} if cursor is None else {"cursor": cursor})})
        page = answer.json()
        assert len(page["items"]) == 1 or len(answer.content) < PAGE_BYTES + 100_000
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        assert page["items"]


@pytest.mark.parametrize("is_of_all", [False, True])
def test_a_page_of_the_history_ends_by_bytes_and_the_next_goes_on(api: Api, tenant: str, is_of_all: bool) -> None:
    path, query = ("/v1/changes", {"tenant": tenant}) if is_of_all else (f"/v1/tenants/{tenant}/changes", {})
    found = [item["revision"] for item in _pages(api, path, limit=500, **query)]
    assert len(set(found)) == len(found) == COUNT + 1
    assert found == sorted(found, reverse=True)


def test_a_list_of_tenants_ends_by_bytes_with_and_without_their_policies(api: Api, service: Process) -> None:
    document = "jsonb_build_object('name', repeat('x', 1000000), 'policies', jsonb_build_object())"
    execute(
        service.environment["CORSPOLICY_DATABASE_URL"],
        "INSERT INTO tenants (slug, revision, document)"
        f" SELECT 'large-' || number, 0, {document} FROM generate_series(10, 29) AS number",
    )
    queries: list[dict[str, str]] = [{}, {"include": "policies"}]
    for query in queries:
        found = [item["tenant"] for item in _pages(api, "/v1/tenants", limit=500, **query)]
        assert [slug for slug in found if slug.startswith("large-")] == [f"large-{number}" for number in range(10, 30)]
    execute(service.environment["CORSPOLICY_DATABASE_URL"], "DELETE FROM tenants WHERE slug LIKE 'large-%'")


def test_streams_that_nobody_reads_hold_little(api: Api, service: Process, tenant: str) -> None:
    process = psutil.Process(service.pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(20):
            _open_unread(stack, api)
        # As far as it gets: one that is read comes to the end meanwhile.
        with Following(api.http, since="2000-01-01T00:00:00Z", tenant=tenant) as reader:
            events = reader.wait_for(tenant, COUNT + 1)
        held = process.memory_info().rss - before
    revisions = [event.change["revision"] for event in events]
    assert len(set(revisions)) == COUNT + 1
    assert held < 100_000_000, f"{held:,} bytes"


def _open_unread(stack: ExitStack, api: Api) -> None:
    address = urlsplit(str(api.http.base_url))
    connection = stack.enter_context(socket.create_connection((str(address.hostname), address.port or 80), 10))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        "GET /v1/changes?since=2000-01-01T00:00:00Z HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Authorization: {api.http.headers['authorization']}\r\n\r\n"
    )
    connection.sendall(request.encode())
    assert connection.recv(9) == b"HTTP/1.1 "


def test_of_a_difference_so_many_bytes_are_stored_for_good_and_the_change_has_all_of_it(
    api: Api, service: Process
) -> None:
    tenant = api.new_tenant()
    headers = [f"{secrets.token_hex(10)}{'x' * 10_000}" for _ in range(20)]
    assert api.put_policy(tenant, {"expose_headers": headers}).status_code == 200
    listed = api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"][0]
    assert 0 < len(listed["difference"]) < 20
    assert len(listed["difference"]) + listed["omitted"] == 20
    sizes = f"SELECT max(difference_bytes) FROM changes WHERE tenant = '{tenant}'"
    assert rows(service.environment["CORSPOLICY_DATABASE_URL"], sizes)[0][0] < 70_000
    change = api.http.get(f"/v1/tenants/{tenant}/changes/{listed['revision']}").json()
    assert (len(change["difference"]), change["omitted"]) == (20, 0)
