"""GET /v1/changes as server-sent events: in order of publication, from where it was left, and nothing missed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from tests.conftest import admin_key, service_environment
from tests.faults.line import Sql
from tests.service.following import Following
from tests.service.helpers import client_with, new_key, problem
from tests.support import Api, Process, running, wait_until

A, B, C = (f"https://{name}.example.com" for name in "abc")
STREAM = {"Accept": "text/event-stream"}


def _listed(api: Api, tenant: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"]
    return items[::-1]


def test_changes_come_as_they_are_made_as_the_list_shows_them(api: Api) -> None:
    with Following(api.http) as following:
        tenant = api.new_tenant()
        for origin in (A, B, C):
            api.allow(tenant, origin)
        events = following.wait_for(tenant, 4)
    assert [event.change for event in events] == _listed(api, tenant)
    ids = [int(event.id) for event in following.events]
    assert ids == sorted(set(ids))


def test_what_was_before_does_not_come_unless_it_is_asked_for(api: Api) -> None:
    tenant = api.new_tenant()
    api.allow(tenant, A)
    since = str(_listed(api, tenant)[0]["changed_at"])
    with Following(api.http, since=since) as replaying:
        assert [event.change for event in replaying.wait_for(tenant, 2)] == _listed(api, tenant)
    with Following(api.http) as following:
        api.allow(tenant, B)
        (event,) = following.wait_for(tenant, 1)
    assert event.change["difference"][0]["words"] == f"{B} allowed"


def test_a_stream_goes_on_where_it_was_left(api: Api) -> None:
    tenant = api.new_tenant()
    with Following(api.http) as following:
        api.allow(tenant, A)
        (event,) = [event for event in following.wait_for(tenant, 1) if event.change["action"] == "origin.add"]
    api.allow(tenant, B)
    api.allow(tenant, C)
    for _ in range(2):
        with Following(api.http, event.id) as resumed:
            events = resumed.wait_for(tenant, 2)
        assert [found.change["difference"][0]["words"] for found in events] == [f"{B} allowed", f"{C} allowed"]


def test_a_change_that_took_an_early_revision_and_commits_late_is_not_missed(api: Api, service: Process) -> None:
    tenant = api.new_tenant("early")
    insert = (
        "INSERT INTO changes (revision, tenant, actor, action) VALUES (nextval('revisions'), $1, 'test', 'late')"
        " RETURNING revision"
    )
    with Sql(service.environment["CORSPOLICY_DATABASE_URL"]) as sql, Following(api.http) as following:
        sql("BEGIN")
        late = sql(insert, tenant)[0][0]
        entry = api.allow(tenant, A)
        (first,) = following.wait_for(tenant, 1)[-1:]
        assert first.change["revision"] == entry["revision"] > late
        with Following(api.http, first.id) as resumed:
            sql("COMMIT")
            for stream in (following, resumed):
                wait_until(
                    lambda stream=stream: late in [event.change["revision"] for event in stream.events],  # type: ignore[misc]
                    "the late change comes",
                )
    assert int(resumed.events[-1].id) > int(first.id)


def test_many_changes_at_once_come_all_and_each_once(api: Api, service: Process) -> None:
    insert = (
        "INSERT INTO changes (revision, tenant, actor, action)"
        " SELECT nextval('revisions'), 'many', 'test', number::text FROM generate_series(1, 450) AS number"
    )
    with Sql(service.environment["CORSPOLICY_DATABASE_URL"]) as sql, Following(api.http) as following:
        sql(insert)
        events = following.wait_for("many", 450)
    assert [event.change["action"] for event in events] == [str(number) for number in range(1, 451)]


def test_filters_and_the_keys_tenants_hold_for_the_stream_too(api: Api) -> None:
    own, other = api.new_tenant(), api.new_tenant()
    key = new_key(api, role="tenant", tenants=[own])["key"]
    with (
        client_with(api, key) as http,
        Following(http) as scoped,
        Following(api.http, tenant=own, action="tenant.rename") as filtered,
    ):
        for tenant in (other, own):
            api.allow(tenant, A)
            api.http.patch(f"/v1/tenants/{tenant}", json={"name": "x"}, headers={"If-Match": "*"})
        filtered.wait_for(own, 1)
        scoped.wait_for(own, 2)
    assert [event.change["action"] for event in scoped.events] == ["origin.add", "tenant.rename"]
    assert [event.change["action"] for event in filtered.events] == ["tenant.rename"]


def test_a_stream_in_which_nothing_comes_tells_how_far_it_has_come(api: Api) -> None:
    with Following(api.http, tenant="nobody-here") as quiet:
        first = int(quiet.last_id)
        api.new_tenant()
        wait_until(lambda: int(quiet.last_id) > first, "the mark moves on")
    assert quiet.events == []


def test_a_stream_ends_soon_after_its_key(api: Api) -> None:
    key = new_key(api, role="reader")
    with client_with(api, key["key"]) as http, Following(http) as following:
        assert api.http.delete(f"/v1/keys/{key['id']}").status_code == 204
        wait_until(lambda: following.has_ended, "the stream ends")
    assert following.error is None


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "9" * 30, str(2**63 - 1)])
def test_an_id_that_no_event_had_is_refused(api: Api, last: str) -> None:
    problem(api.http.get("/v1/changes", headers={**STREAM, "Last-Event-ID": last}), 400, "malformed-cursor")


@pytest.fixture
def own(database_url: str, redis_url: str) -> Iterator[Process]:
    """A service that has few streams."""
    environment = {**service_environment(database_url, redis_url), "CORSPOLICY_MAX_STREAMS": "2"}
    with running("policy_service.app:create_app", environment) as process:
        yield process


def _refused(http: httpx.Client) -> httpx.Response | None:
    with http.stream("GET", "/v1/changes", headers=STREAM) as answer:
        if answer.status_code == 200:
            return None
        answer.read()
        return answer


def test_the_number_of_streams_is_bounded_and_they_end_cleanly_when_the_service_stops(own: Process) -> None:
    api = Api(own.url, admin_key(own.environment["CORSPOLICY_DATABASE_URL"]))
    with (
        api.http,
        client_with(api, new_key(api, role="reader")["key"]) as other,
        client_with(api, new_key(api, role="reader")["key"]) as third,
        Following(api.http) as first,
    ):
        with Following(other):
            answer = _refused(third)
            assert answer is not None
            problem(answer, 503, "too-many-streams")
            assert answer.headers["retry-after"] == "10"
        wait_until(lambda: _refused(third) is None, "the place is free again")
        own.stop()
        wait_until(lambda: first.has_ended, "the stream ends")
    assert first.error is None


def test_one_key_has_its_share_of_the_streams_also_when_it_asks_for_many_at_once(own: Process) -> None:
    api = Api(own.url, admin_key(own.environment["CORSPOLICY_DATABASE_URL"]))
    with api.http, client_with(api, new_key(api, role="reader")["key"]) as other:
        barrier = Barrier(10)

        def follow(_: int) -> int:
            barrier.wait(10)
            with api.http.stream("GET", "/v1/changes", headers=STREAM) as answer:
                barrier.wait(10)
                return answer.status_code

        with ThreadPoolExecutor(10) as threads:
            assert sorted(threads.map(follow, range(10))) == [200] + 9 * [429]
        with Following(other):
            answer = _refused(other)
            assert answer is not None
            problem(answer, 429, "too-many-streams")
            wait_until(lambda: _refused(api.http) is None, "the others have theirs")
