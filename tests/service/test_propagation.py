"""How far a change has come, and `Prefer: wait`, where no process is there yet, or pretends to be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import redis

from corspolicy.status import Report
from corspolicy.sync.wire import REPORT_TTL_SECONDS
from policy_service.publisher.scripts import REGISTER_FIELD
from policy_service.settings import Settings
from tests.keys import CHANGES, EPOCH, PROCESS_PREFIX, PROCESSES
from tests.service.helpers import CONFIRM, FULL, etag, path_of, problem, tenant_api
from tests.support import Api, Process, running, wait_until

ORIGIN = "https://app.example.com"
FAR = "99999999999999-0"


@pytest.fixture
def client(service: Process) -> Iterator[redis.Redis]:
    """The service's Redis, in which no process has reported."""
    with redis.Redis.from_url(service.environment["CORSPOLICY_REDIS_URL"]) as client:
        yield client
        # They stop in order.
        for name in set(client.zrange(PROCESSES, 0, -1)) - {REGISTER_FIELD}:
            client.zrem(PROCESSES, name)
            client.delete(PROCESS_PREFIX + name.decode())


def _report(client: redis.Redis, name: str, **values: Any) -> None:
    """Report as a process would, that has applied everything unless `values` say otherwise."""
    epoch, stream = client.get(EPOCH), client.xinfo_stream(CHANGES)
    assert isinstance(epoch, bytes)
    assert isinstance(stream, dict)
    end = stream["last-generated-id"].decode()
    report = Report(
        id=name, host="host-1", process=7, version="0.1.0", services=["billing"], started_at=0.0, ready=True, age=0.0,
        revision=1, cursor=end, epoch=epoch.decode(), digest="", tenants=1, complete=False, rejections={}, denied={},
        key_ids=[],
    )  # fmt: skip
    client.set(PROCESS_PREFIX + name, json.dumps(json.loads(report.to_bytes()) | values), ex=15)
    client.zadd(PROCESSES, {name: time.time()})


def _propagation(api: Api, revision: int, wait: int = 5) -> dict[str, Any]:
    answer = api.http.get(f"/v1/revisions/{revision}/propagation", params={"wait": wait})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_change_is_complete_where_there_is_no_process_once_it_is_published(api: Api) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    body = _propagation(api, revision)
    assert (body["revision"], body["complete"], body["published"]) == (revision, True, True)
    assert [body[name]["count"] for name in ("applied", "pending", "rejected")] == [0, 0, 0]
    assert 0 < body["milliseconds"] < 5_000


def test_the_processes_that_apply_it_are_told_from_those_that_do_not(api: Api, client: redis.Redis) -> None:
    tenant = api.new_tenant()
    revision = api.allow(tenant, ORIGIN)["revision"]
    wait_until(lambda: _propagation(api, revision)["complete"], "it is published")
    many = {f"other-{number}": "revision 1: no" for number in range(10)}
    _report(client, "applies")
    _report(client, "rejects", rejections={tenant: "revision 9: not JSON"})
    _report(client, "rejects-many", rejections=many)
    _report(client, "behind", cursor="1-0")
    _report(client, "of-another-epoch", epoch="before")
    _report(client, "with-a-gap", epoch=None)
    _report(client, "no-cursor", cursor="\N{CRAB}-1")
    _report(client, "of-another-version", tenants="many")
    body = _propagation(api, revision, wait=0)
    assert (body["complete"], body["milliseconds"], body["preflights_cached_until"]) == (False, None, None)
    named = {name: [each["id"] for each in body[name]["processes"]] for name in ("applied", "pending", "rejected")}
    assert named["applied"] == ["applies"]
    assert sorted(named["pending"]) == ["behind", "no-cursor", "of-another-epoch", "of-another-version", "with-a-gap"]
    assert sorted(named["rejected"]) == ["rejects", "rejects-many"]
    reasons = {each["id"]: each["why"] for each in body["rejected"]["processes"]}
    assert reasons["rejects"] == "revision 9: not JSON"
    assert "names others" in reasons["rejects-many"]
    applied = body["applied"]["processes"][0]
    assert (applied["host"], applied["process"], applied["services"]) == ("host-1", 7, ["billing"])
    unreadable = next(each for each in body["pending"]["processes"] if each["id"] == "of-another-version")
    assert (unreadable["host"], unreadable["process"], unreadable["services"]) == (None, None, [])


def test_those_longest_silent_are_listed_first_and_not_too_many(api: Api, client: redis.Redis) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    for number in range(105):
        _report(client, f"p-{number}", epoch=None)
    client.pexpire(PROCESS_PREFIX + "p-77", 3_000)
    pending = _propagation(api, revision, wait=0)["pending"]
    assert (pending["count"], len(pending["processes"]), pending["processes"][0]["id"]) == (105, 100, "p-77")


def test_a_process_that_is_silent_is_waited_for_until_it_counts_as_ended(api: Api, client: redis.Redis) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    _report(client, "silent", epoch=None)
    client.zadd(PROCESSES, {"silent": time.time() - REPORT_TTL_SECONDS + 1})
    began = time.monotonic()
    assert _propagation(api, revision, wait=10)["complete"]
    assert 0.3 < time.monotonic() - began < 8


@pytest.mark.parametrize("rejections", [{}, {"other": "revision 1: no"}])
def test_a_cursor_beyond_the_end_of_the_stream_proves_nothing(
    api: Api, client: redis.Redis, rejections: dict[str, str]
) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    assert _propagation(api, revision)["complete"]
    _report(client, "forged", cursor=FAR, rejections=rejections)
    body = _propagation(api, revision, wait=0)
    assert (body["complete"], body["applied"]["count"], body["pending"]["count"]) == (False, 0, 1)
    states = {each["id"]: each["state"] for each in api.http.get("/v1/fleet").json()["processes"]}
    assert states == {"forged": "diverged"}


def test_processes_that_hold_some_tenants_only_are_counted_apart(api: Api, client: redis.Redis) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    assert _propagation(api, revision)["complete"]
    _report(client, "some", complete=False)
    applied = _propagation(api, revision, wait=0)["applied"]
    assert (applied["count"], applied["on_demand"]) == (1, 1)


def _follow(service: Process, name: str, database: int = 0) -> redis.Redis:
    """Connect as a process does that may not report."""
    url = service.environment["CORSPOLICY_REDIS_URL"].rpartition("/")[0]
    return redis.Redis.from_url(f"{url}/{database}", client_name=PROCESS_PREFIX + name, single_connection_client=True)


def test_nothing_is_complete_while_a_process_follows_that_does_not_report(
    api: Api, service: Process, client: redis.Redis
) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    # Of another installation in the same Redis, and of one of ours that reports.
    with _follow(service, "elsewhere", database=1), _follow(service, "reports"):
        _report(client, "reports")
        body = _propagation(api, revision)
        assert (body["complete"], body["not_reporting"]) == (True, 0)
        with _follow(service, "silent"):
            body = _propagation(api, revision, wait=0)
            assert (body["complete"], body["not_reporting"], body["applied"]["count"]) == (False, 1, 1)
            assert api.http.get("/v1/fleet").json()["not_reporting"] == 1
        assert _propagation(api, revision)["complete"]


def test_a_service_that_may_not_list_connections_says_that_nobody_knows(
    api: Api, service: Process, client: redis.Redis
) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    client.acl_setuser("limited", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-client"])
    url = service.environment["CORSPOLICY_REDIS_URL"].replace("redis://", "redis://limited:secret@")
    environment = service.environment | {"CORSPOLICY_REDIS_URL": url}
    with running("policy_service.app:create_app", environment) as limited, _follow(service, "silent"):
        path = f"{limited.url}/v1/revisions/{revision}/propagation"
        body = httpx.get(path, headers=api.http.headers).json()
        assert (body["complete"], body["not_reporting"]) == (True, None)


def test_waiting_ends_in_time(api: Api, client: redis.Redis) -> None:
    tenant = api.new_tenant()
    _report(client, "behind", cursor="1-0")
    began = time.monotonic()
    answer = api.http.post(
        f"/v1/tenants/{tenant}/policies/default/origins", json={"pattern": ORIGIN}, headers={"Prefer": "wait=1"}
    )
    assert 1 <= time.monotonic() - began < 5
    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=1")
    assert [each["id"] for each in answer.json()["propagation"]["pending"]["processes"]] == ["behind"]


def _looks(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_zrevrange", {}).get("calls", 0))


def test_a_server_that_is_asked_to_end_does_not_wait_for_those_who_do(
    api: Api, service: Process, client: redis.Redis
) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    _report(client, "behind", cursor="1-0")
    with ThreadPoolExecutor() as threads, running("policy_service.app:create_app", service.environment) as server:
        path = f"{server.url}/v1/revisions/{revision}/propagation?wait=60"
        client.config_resetstat()
        waiting = threads.submit(httpx.get, path, headers=api.http.headers, timeout=90)
        # Unlike the watch of the fleet, which looks every few seconds, it looks again and again.
        wait_until(lambda: _looks(client) >= 10, "it looks at the fleet again and again")
        server.stop()
        answer = waiting.result()
    assert (answer.status_code, answer.json()["pending"]["count"]) == (200, 1)


def test_only_so_many_requests_of_a_key_may_wait_and_the_others_are_told(api: Api, client: redis.Redis) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    _report(client, "behind", cursor="1-0")

    async def ask(http: httpx.AsyncClient, wait: int) -> httpx.Response:
        return await http.get(f"/v1/revisions/{revision}/propagation", params={"wait": wait})

    async def run() -> tuple[list[httpx.Response], httpx.Response]:
        options: dict[str, Any] = {"base_url": api.http.base_url, "headers": api.http.headers, "timeout": 60}
        async with httpx.AsyncClient(**options, limits=httpx.Limits(max_connections=None)) as http:
            share = Settings.model_fields["max_waits"].default // 4
            waiting = [asyncio.create_task(ask(http, 12)) for _ in range(share + 10)]
            while sum(task.done() for task in waiting) < 10:
                await asyncio.sleep(0.01)
            unhurried = await ask(http, 0)
            return await asyncio.gather(*waiting), unhurried

    answers, unhurried = asyncio.run(run())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 10
    for answer in refused:
        assert "CORSPOLICY_MAX_WAITS" in problem(answer, 429, "too-many-waiting")["detail"]
        assert answer.headers["retry-after"]
    assert unhurried.status_code == 200


def test_what_a_redis_of_another_publisher_says_proves_nothing(api: Api, client: redis.Redis) -> None:
    revision = api.allow(api.new_tenant(), ORIGIN)["revision"]
    assert _propagation(api, revision)["complete"]
    client.set(EPOCH, "another")
    try:
        body = _propagation(api, revision, wait=0)
        assert (body["published"], body["complete"]) == (False, False)
    finally:
        # The publisher sees it too, and writes everything again; whatever reported before has time to do so again.
        wait_until(lambda: _propagation(api, revision)["complete"], "the receipt", 30)


def _changes(api: Api) -> Iterator[httpx.Response]:
    """Every kind of change, each with `Prefer: wait`."""
    headers = {"Prefer": "wait=5", "If-Match": "*"}
    tenant = api.new_tenant()
    policies = f"/v1/tenants/{tenant}/policies"
    yield api.http.put(f"{policies}/default", json=FULL, headers=headers, params=CONFIRM)
    yield api.http.put(f"{policies}/billing", json={}, headers=headers, params=CONFIRM)
    added = api.http.post(f"{policies}/billing/origins", json={"pattern": ORIGIN}, headers=headers, params=CONFIRM)
    yield added
    yield api.http.post(f"{policies}/billing/origins", json={"pattern": ORIGIN}, headers=headers, params=CONFIRM)
    entry = f"{policies}/billing/origins/{added.json()['id']}"
    yield api.http.patch(entry, json={"note": "x"}, headers=headers, params=CONFIRM)
    yield api.http.delete(entry, headers=headers, params=CONFIRM)
    yield api.http.delete(f"{policies}/billing", headers=headers, params=CONFIRM)
    restored = {"revision": added.json()["revision"]}
    yield api.http.post(f"/v1/tenants/{tenant}/restore", json=restored, headers=headers, params=CONFIRM)
    yield api.http.patch(f"/v1/tenants/{tenant}", json={"name": "X"}, headers=headers, params=CONFIRM)
    yield api.http.delete(f"/v1/tenants/{tenant}", headers=headers, params=CONFIRM)
    yield api.http.post("/v1/tenants", json={"tenant": tenant}, headers=headers, params=CONFIRM)


def test_every_change_answers_with_its_revision_and_waits_if_asked_to(api: Api) -> None:
    statuses = []
    for answer in _changes(api):
        assert answer.is_success, answer.text
        assert answer.headers["preference-applied"] == "wait=5"
        body = answer.json()
        revision = int(answer.headers["etag"].strip('"'))
        assert body["propagation"]["revision"] == revision
        assert body["propagation"]["complete"]
        assert body["revision"] == revision
        assert int(answer.headers["content-length"]) == len(answer.content)
        statuses.append(answer.status_code)
    assert statuses == [200, 201, 201, 200, 200, 200, 200, 200, 200, 200, 201]


def test_no_change_is_without_the_preference(service: Process) -> None:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    changes = {
        operation["operationId"]: {parameter["name"].lower() for parameter in operation.get("parameters", [])}
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path.startswith("/v1/tenants") and method != "get"
    }
    assert len(changes) >= 9
    assert all("prefer" in parameters for parameters in changes.values()), changes


def test_the_answer_is_otherwise_as_without_the_preference(api: Api) -> None:
    path = path_of(api)
    plain = api.http.put(path, json=FULL, headers={"If-Match": "*"})
    waited = api.http.put(path, json=FULL, headers={"If-Match": "*", "Prefer": "wait=5"})
    body = waited.json()
    assert body.pop("propagation")["complete"]
    assert body == plain.json()
    # Nothing was changed, so that the revision is the same.
    assert etag(waited) == etag(plain)
    assert waited.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize(
    ("preference", "applied"),
    [
        ("wait=1", "wait=1"),
        ("wait=0", "wait=0"),
        ("wait=60", "wait=60"),
        ("wait=3600", "wait=60"),
        ("wait=" + "9" * 5_000, "wait=60"),
        ('respond-async; x=y, WAIT="2"; z', "wait=2"),
        ("wait=x, wait=3", "wait=3"),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=\N{SUPERSCRIPT TWO}", None),
        ("await=5", None),
        ("", None),
        (",;=,", None),
    ],
)
def test_a_preference_that_cannot_be_read_is_none(api: Api, preference: str, applied: str | None) -> None:
    answer = api.http.put(path_of(api), json={}, headers=[(b"Prefer", preference.encode()), (b"If-Match", b"*")])
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("preference-applied") == applied
    assert ("propagation" in answer.json()) == (applied is not None)


def test_a_refused_change_a_dry_run_and_reading_do_not_wait(api: Api) -> None:
    path = path_of(api)
    dry = api.http.put(path, json=FULL, headers={"If-Match": "*", "Prefer": "wait=60"}, params={"dry_run": "true"})
    assert (dry.status_code, dry.json()["dry_run"]) == (200, True)
    assert "preference-applied" not in dry.headers
    refused = api.http.put(path, json={"max_age": -1}, headers={"If-Match": "*", "Prefer": "wait=60"})
    problem(refused, 422, "invalid-policy")
    assert "preference-applied" not in refused.headers
    assert "propagation" not in api.http.get(path, headers={"Prefer": "wait=60"}).json()


def test_a_repeated_request_waits_too_and_what_is_kept_is_the_answer_alone(api: Api) -> None:
    path = f"{path_of(api)}/origins"
    headers = {"Idempotency-Key": "once", "Prefer": "wait=5"}
    first, second = (api.http.post(path, json={"pattern": ORIGIN}, headers=headers) for _ in range(2))
    third = api.http.post(path, json={"pattern": ORIGIN}, headers={"Idempotency-Key": "once"})
    assert [answer.status_code for answer in (first, second, third)] == [201, 201, 201]
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["propagation"]["complete"]
    assert second.json()["propagation"]["complete"]
    assert "propagation" not in third.json()
    assert third.json()["id"] == first.json()["id"]


def test_a_key_to_one_tenant_sees_how_many_processes_apply_its_own_changes_and_not_which(
    api: Api, service: Process, client: redis.Redis
) -> None:
    mine, other = api.new_tenant(), api.new_tenant()
    foreign = api.allow(other, ORIGIN)["revision"]
    _report(client, "behind", epoch=None)
    with tenant_api(api, service, mine) as own:
        path = f"/v1/tenants/{mine}/policies/default/origins"
        answer = own.http.post(path, json={"pattern": ORIGIN}, headers={"Prefer": "wait=1"})
        _report(client, "applies")
        bodies = answer.json()["propagation"], _propagation(own, answer.json()["revision"], wait=0)
        for applied, body in enumerate(bodies):
            assert [body[name]["count"] for name in ("applied", "pending", "rejected")] == [applied, 1, 0]
            assert [body[name]["processes"] for name in ("applied", "pending", "rejected")] == [[], [], []]
        for revision in (foreign, 1):
            refused = own.http.get(f"/v1/revisions/{revision}/propagation")
            problem(refused, 404, "unknown-revision")
            unknown = own.http.get(f"/v1/revisions/{2**62}/propagation").text
            assert refused.text == unknown.replace(str(2**62), str(revision))


@pytest.mark.parametrize("revision", ["9223372036854775807", "123456789012"])
def test_an_unknown_revision_is_not_found(api: Api, revision: str) -> None:
    problem(api.http.get(f"/v1/revisions/{revision}/propagation"), 404, "unknown-revision")


@pytest.mark.parametrize(
    "path", ["0/propagation", "x/propagation", "-1/propagation", "9223372036854775808/propagation"]
)
def test_what_is_no_revision_is_refused(api: Api, path: str) -> None:
    problem(api.http.get(f"/v1/revisions/{path}"), 422, "invalid-request")


@pytest.mark.parametrize("wait", ["-1", "61", "x", "1.5", ""])
def test_what_is_no_wait_is_refused(api: Api, wait: str) -> None:
    answer = api.http.get("/v1/revisions/1/propagation", params={"wait": wait})
    problem(answer, 422, "invalid-request")


def _cached_seconds(body: dict[str, Any], browser: str) -> float:
    """How long after now a browser may still go by what it has cached."""
    until = datetime.fromisoformat(body["preflights_cached_until"][browser])
    return (until - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("max_age", "chromium", "firefox", "safari"),
    [(None, 5, 5, 5), (0, 0, 0, 0), (600, 600, 600, 600), (86_400, 7_200, 86_400, 600)],
)
def test_a_removal_says_how_long_browsers_may_go_by_what_they_cached(
    api: Api, max_age: int | None, chromium: int, firefox: int, safari: int
) -> None:
    tenant = api.new_tenant()
    api.put_policy(tenant, {"allow_origins": [ORIGIN], "max_age": max_age})
    entry = api.http.get(f"/v1/tenants/{tenant}/policies/default").json()["allow_origins"][0]["id"]
    removed = api.http.delete(
        f"/v1/tenants/{tenant}/policies/default/origins/{entry}", headers={"Prefer": "wait=10"}, params=CONFIRM
    ).json()
    assert removed["propagation"]["complete"]
    for browser, seconds in (("chromium", chromium), ("firefox", firefox), ("safari", safari)):
        assert seconds - 5 < _cached_seconds(removed["propagation"], browser) <= seconds


def test_what_takes_something_away_is_told_from_what_does_not(api: Api) -> None:
    tenant = api.new_tenant()
    headers = {"If-Match": "*", "Prefer": "wait=10"}

    def takes_away(answer: httpx.Response) -> bool:
        assert answer.is_success, answer.text
        return answer.json()["propagation"]["preflights_cached_until"] is not None

    def put(values: dict[str, Any], service: str = "default") -> bool:
        path = f"/v1/tenants/{tenant}/policies/{service}"
        return takes_away(api.http.put(path, json=values, headers=headers, params=CONFIRM))

    full = {"allow_origins": [ORIGIN], "allow_methods": ["PUT"], "allow_headers": ["x-a"], "allow_credentials": True}
    assert not put(full)
    assert not put({**full, "allow_origins": [ORIGIN, "https://b.example.com"], "max_age": 60})
    assert put({**full, "allow_methods": []})
    assert not put(full)
    assert put({**full, "allow_headers": ["x-b"]})
    assert put({**full, "allow_credentials": False})
    assert not put(full)
    assert put({**full, "allow_origins": [{"pattern": ORIGIN, "expires_at": "2099-01-01T00:00:00Z"}]})
    assert not put(full)
    # A policy of its own takes away what the default gave.
    assert put({}, "billing")
    assert takes_away(api.http.delete(f"/v1/tenants/{tenant}", headers=headers, params=CONFIRM))
