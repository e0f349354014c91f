"""Idempotency-Key on POST: done once, answered as often as it is asked."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from tests.conftest import admin_key
from tests.service.helpers import CONFIRM, client_with, execute, new_key, path_of, problem, rows, together
from tests.support import Api, Process, running, wait_until

ORIGIN = {"pattern": "https://a.example.com"}


def _headers(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or secrets.token_hex(8)}


def _revisions(service: Process, tenant: str) -> int:
    query = f"SELECT count(*) FROM changes WHERE tenant = '{tenant}'"
    count: int = rows(service.environment["CORSPOLICY_DATABASE_URL"], query)[0][0]
    return count


def _assert_replayed(answer: httpx.Response, first: httpx.Response) -> None:
    assert "idempotency-replayed" not in first.headers
    assert answer.headers["idempotency-replayed"] == "true"
    assert (answer.status_code, answer.content) == (first.status_code, first.content)
    for name in ("etag", "location", "content-type", "content-length"):
        assert answer.headers.get(name) == first.headers.get(name), name


def test_every_post_that_changes_something_takes_the_header(service: Process) -> None:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    posts = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    assert len(posts) >= 5
    for path, operation in posts.items():
        headers = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "header"]
        assert ("idempotency-key" in map(str.lower, headers)) == (path != "/v1/decisions"), path


@pytest.mark.parametrize("body", [{"tenant": "once"}, {"name": "Ünï ❤", "tenant": "twice"}])
def test_a_repeated_creation_is_answered_as_the_first_and_done_once(
    service: Process, api: Api, body: dict[str, str]
) -> None:
    headers = _headers()
    first = api.http.post("/v1/tenants", json=body, headers=headers)
    assert first.status_code == 201
    for _ in range(3):
        _assert_replayed(api.http.post("/v1/tenants", json=body, headers=headers), first)
    problem(api.http.post("/v1/tenants", json=body), 409, "tenant-exists")
    assert _revisions(service, body["tenant"]) == 1


def test_an_answer_is_repeated_even_when_what_it_made_is_gone(service: Process, api: Api) -> None:
    path, headers = f"{path_of(api)}/origins", _headers()
    first = api.http.post(path, json=ORIGIN, headers=headers)
    entry = first.json()["id"]
    assert api.http.delete(f"{path}/{entry}", params=CONFIRM).status_code == 204
    _assert_replayed(api.http.post(path, json=ORIGIN, headers=headers), first)
    assert api.http.get(path).json()["items"] == []


def test_without_the_header_nothing_is_repeated_nor_kept(service: Process, api: Api) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    before = rows(database_url, "SELECT count(*) FROM stored_responses")
    path = f"{path_of(api)}/origins"
    assert [api.http.post(path, json=ORIGIN).status_code for _ in range(2)] == [201, 200]
    assert rows(database_url, "SELECT count(*) FROM stored_responses") == before


def test_a_key_of_another_request_is_refused_and_nothing_is_done(service: Process, api: Api) -> None:
    tenant, other, headers = api.new_tenant(), api.new_tenant(), _headers()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    assert api.http.post(path, json=ORIGIN, headers=headers).status_code == 201
    for another, body in (
        (path, {"pattern": "https://b.example.com"}),
        (f"/v1/tenants/{other}/policies/default/origins", ORIGIN),
        (f"{path}?confirm=true", ORIGIN),
        ("/v1/keys", {"role": "reader"}),
    ):
        problem(api.http.post(another, json=body, headers=headers), 422, "idempotency-key-reused")
    assert (_revisions(service, tenant), _revisions(service, other)) == (2, 1)


def test_the_same_text_of_another_api_key_is_another_request(api: Api) -> None:
    path, headers = f"{path_of(api)}/origins", _headers()
    assert api.http.post(path, json=ORIGIN, headers=headers).status_code == 201
    with client_with(api, new_key(api, role="admin")["key"]) as http:
        answer = http.post(path, json=ORIGIN, headers=headers)
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers


def test_a_refused_request_may_be_sent_again_with_the_same_key(api: Api) -> None:
    slug, headers = f"later-{secrets.token_hex(4)}", _headers()
    path = f"/v1/tenants/{slug}/policies/default/origins"
    problem(api.http.post(path, json=ORIGIN, headers=headers), 404, "unknown-tenant")
    assert api.http.post("/v1/tenants", json={"tenant": slug}).status_code == 201
    first = api.http.post(path, json=ORIGIN, headers=headers)
    assert first.status_code == 201
    _assert_replayed(api.http.post(path, json=ORIGIN, headers=headers), first)


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\tb"])
def test_what_no_key_can_be_is_refused(api: Api, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    answer = api.http.post(f"{path_of(api)}/origins", json=ORIGIN, headers=headers)
    problem(answer, 400, "malformed-idempotency-key")


def test_of_many_at_the_same_moment_one_is_done_and_all_get_its_answer_or_are_told_to_wait(
    service: Process, api: Api
) -> None:
    for _ in range(5):
        slug, headers = f"race-{secrets.token_hex(4)}", _headers()

        def send(_: int, slug: str = slug, headers: dict[str, str] = headers) -> httpx.Response:
            return api.http.post("/v1/tenants", json={"tenant": slug}, headers=headers)

        answers = together(12, send)
        done = [answer for answer in answers if answer.status_code == 201]
        assert len({answer.content for answer in done}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in done) == 1
        for answer in answers:
            if answer.status_code != 201:
                problem(answer, 409, "request-in-progress")
                assert answer.headers["retry-after"] == "1"
        assert _revisions(service, slug) == 1


def test_the_secret_of_a_key_is_not_kept_and_not_repeated(service: Process, api: Api) -> None:
    headers = _headers()
    first = api.http.post("/v1/keys", json={"role": "reader"}, headers=headers)
    assert first.status_code == 201
    again = api.http.post("/v1/keys", json={"role": "reader"}, headers=headers)
    problem(again, 409, "response-not-stored")
    assert again.headers["location"] == first.headers["location"]
    rotation = f"{again.headers['location']}/rotate"
    rotated = api.http.post(rotation, json={}, headers=_headers("r"))
    problem(api.http.post(rotation, json={}, headers=_headers("r")), 409, "response-not-stored")
    everything = repr(rows(service.environment["CORSPOLICY_DATABASE_URL"], "SELECT * FROM stored_responses"))
    for answer in (first, rotated):
        assert answer.json()["id"] in everything
        assert answer.json()["key"] not in everything


def test_an_answer_counts_for_a_day(service: Process, api: Api) -> None:
    path, headers = f"{path_of(api)}/origins", _headers("of the day before")
    first = api.http.post(path, json=ORIGIN, headers=headers)

    def grow_older(interval: str) -> None:
        age = f"UPDATE stored_responses SET created_at = now() - interval '{interval}'"
        execute(service.environment["CORSPOLICY_DATABASE_URL"], f"{age} WHERE idempotency_key = 'of the day before'")

    grow_older("23 hours 59 minutes")
    _assert_replayed(api.http.post(path, json=ORIGIN, headers=headers), first)
    grow_older("24 hours")
    assert api.http.delete(f"{path}/{first.json()['id']}", params=CONFIRM).status_code == 204
    second = api.http.post(path, json=ORIGIN, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    _assert_replayed(api.http.post(path, json=ORIGIN, headers=headers), second)


def test_the_response_to_what_changed_nothing_is_not_stored(service: Process, api: Api) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    entry = api.allow(tenant, ORIGIN["pattern"])
    before = rows(database_url, "SELECT count(*) FROM stored_responses")
    requests = [
        (path, ORIGIN, {}),
        (path, {"pattern": "https://b.example.com"}, {"dry_run": "true"}),
        (f"/v1/tenants/{tenant}/restore", {"revision": entry["revision"]}, {}),
    ]
    for url, body, parameters in requests:
        headers = {**_headers(), "If-Match": "*"}
        for _ in range(2):
            answer = api.http.post(url, json=body, headers=headers, params=parameters)
            assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, False), answer.text
    assert rows(database_url, "SELECT count(*) FROM stored_responses") == before


def test_a_large_response_is_not_stored_and_the_request_not_carried_out_again(service: Process, api: Api) -> None:
    tenant = api.new_tenant()
    for count, is_stored in ((100, True), (700, False)):
        api.put_policy(tenant, {"allow_origins": [f"https://{number}.example.com" for number in range(count)]})
        revision = api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"][0]["revision"]
        api.put_policy(tenant, {})
        headers = {**_headers(), "If-Match": "*"}

        def restore(headers: dict[str, str] = headers, revision: int = revision) -> httpx.Response:
            return api.http.post(f"/v1/tenants/{tenant}/restore", json={"revision": revision}, headers=headers)

        first = restore()
        assert (first.status_code, len(first.content) <= 64 * 1024) == (200, is_stored)
        revisions = _revisions(service, tenant)
        if is_stored:
            _assert_replayed(restore(), first)
        else:
            again = restore()
            assert "65536 bytes" in problem(again, 409, "response-not-stored")["detail"]
            assert again.headers["etag"] == first.headers["etag"]
        assert _revisions(service, tenant) == revisions
    sizes = rows(service.environment["CORSPOLICY_DATABASE_URL"], "SELECT max(length(body)) FROM stored_responses")
    assert sizes[0][0] <= 64 * 1024


def test_what_is_kept_is_bounded(database_url: str, redis_url: str) -> None:
    insert = """
    INSERT INTO stored_responses (actor, idempotency_key, fingerprint, status, headers, created_at)
    SELECT 'key:' || actor, number, '', 201, '{}', now() - number * interval '1 second' - actor * interval '20 hours'
    FROM generate_series(0, 1) actor, generate_series(1, 20000) number
    """
    execute(database_url, insert)
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    count = "SELECT actor, count(*), min(idempotency_key::int) FROM stored_responses GROUP BY actor ORDER BY actor"
    with running("policy_service.app:create_app", environment):
        # Of one the newest, of the other those of the last 24 hours.
        wait_until(lambda: rows(database_url, count)[0][1] == 10_000, "what is too much is deleted")
        [(_, _, newest), (_, left, other_newest)] = rows(database_url, count)
        assert (newest, other_newest) == (1, 1)
        assert 0 < left <= 4 * 3600


def test_a_change_and_its_answer_are_kept_together_or_not_at_all(database_url: str, redis_url: str) -> None:
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    admin = admin_key(database_url)
    execute(database_url, "ALTER TABLE stored_responses ADD CONSTRAINT no_room CHECK (idempotency_key <> 'no room')")
    with running("policy_service.app:create_app", environment) as process:
        api = Api(process.url, admin)
        with api.http:
            answer = api.http.post("/v1/tenants", json={"tenant": "acme"}, headers=_headers("no room"))
            problem(answer, 500, "internal-error")
            problem(api.http.get("/v1/tenants/acme"), 404, "unknown-tenant")
            execute(database_url, "ALTER TABLE stored_responses DROP CONSTRAINT no_room")
            again = api.http.post("/v1/tenants", json={"tenant": "acme"}, headers=_headers("no room"))
            assert again.status_code == 201


def test_a_request_without_the_right_api_key_gets_no_kept_answer(api: Api) -> None:
    headers = _headers()
    body: dict[str, Any] = {"tenant": f"mine-{secrets.token_hex(4)}"}
    assert api.http.post("/v1/tenants", json=body, headers=headers).status_code == 201
    with client_with(api, "cpk_0") as http:
        problem(http.post("/v1/tenants", json=body, headers=headers), 401, "unauthorized")
