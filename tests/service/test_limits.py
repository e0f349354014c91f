"""How much: requests of a key, malformed keys of an address, entries and policies of a tenant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests import servers
from tests.conftest import admin_key
from tests.service.helpers import CONFIRM, client_with, forged, new_key, problem, together
from tests.support import Api, Process, running

BURST = 20
PER_SECOND = 2
FAILURES = 2


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    with servers.redis() as redis_url:
        environment = {
            "CORSPOLICY_DATABASE_URL": new_database(),
            "CORSPOLICY_REDIS_URL": redis_url,
            "CORSPOLICY_RATE_LIMIT_PER_SECOND": str(PER_SECOND),
            "CORSPOLICY_RATE_LIMIT_BURST": str(BURST),
            "CORSPOLICY_FAILED_AUTHENTICATIONS_PER_MINUTE": str(FAILURES),
            "CORSPOLICY_MAX_POLICIES_PER_TENANT": "2",
            "CORSPOLICY_MAX_ENTRIES_PER_POLICY": "3",
            "CORSPOLICY_MAX_NAMES_PER_LIST": "4",
        }
        with running("policy_service.app:create_app", environment) as process:
            yield process


@pytest.fixture
def api(service: Process) -> Iterator[Api]:
    """With a key of the test's own: no other test uses up its share."""
    api = Api(service.url, admin_key(service.environment["CORSPOLICY_DATABASE_URL"]))
    with api.http:
        yield api


def test_a_client_that_honours_retry_after_gets_all_its_writes_through(api: Api) -> None:
    count, refusals, started_at = BURST + 5 * PER_SECOND, 0, time.monotonic()
    path = f"/v1/tenants/{api.new_tenant()}/policies/default"
    for number in range(count):
        body = {"allow_methods": [f"M{number}"]}
        while (answer := api.http.put(path, json=body, headers={"If-Match": "*"})).status_code == 429:
            problem(answer, 429, "too-many-requests")
            refusals += 1
            time.sleep(int(answer.headers["retry-after"]))
        assert answer.json()["allow_methods"] == body["allow_methods"]
    # What was admitted is what the bucket held and got back; each refusal was worth its wait.
    assert count + 1 <= BURST + PER_SECOND * (time.monotonic() - started_at)
    assert refusals <= count


def test_more_than_its_share_is_refused_and_another_key_is_not_touched(api: Api) -> None:
    with client_with(api, new_key(api, role="reader")["key"]) as http:
        answers = together(3 * BURST, lambda _: http.get("/v1/keys/self"))
        admitted = [answer for answer in answers if answer.status_code == 200]
        assert BURST <= len(admitted) < len(answers)
        for answer in answers:
            if answer not in admitted:
                problem(answer, 429, "too-many-requests")
                assert int(answer.headers["retry-after"]) >= 1
        assert api.http.get("/v1/keys/self").status_code == 200


def _get(service: Process, key: str, address: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": address}
    return httpx.get(f"{service.url}/v1/keys/self", headers=headers)


@pytest.mark.parametrize(
    ("address", "neighbour", "stranger"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
)
def test_too_many_malformed_keys_of_an_address_are_throttled_and_no_other_addresses(
    service: Process, address: str, neighbour: str, stranger: str
) -> None:
    for _ in range(FAILURES):
        problem(_get(service, "mistyped", address), 401, "unauthorized")
    throttled = _get(service, "mistyped", neighbour)
    problem(throttled, 429, "too-many-requests")
    assert 1 <= int(throttled.headers["retry-after"]) <= 60 / FAILURES
    problem(_get(service, "mistyped", stranger), 401, "unauthorized")


def test_a_well_formed_key_is_looked_up_whatever_its_neighbours_send(service: Process, api: Api) -> None:
    address = "192.0.2.4"
    made = new_key(api, role="reader")
    wrong = forged(made["key"], secret="0" * 64)
    for _ in range(3 * FAILURES):
        problem(_get(service, wrong, address), 401, "unauthorized")
        _get(service, "mistyped", address)
    problem(_get(service, "mistyped", address), 429, "too-many-requests")
    # Never used before, from that address or another one.
    assert _get(service, made["key"], address).status_code == 200
    assert api.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    problem(_get(service, made["key"], address), 401, "unauthorized")


def test_who_sends_no_key_at_all_guesses_none(service: Process, api: Api) -> None:
    for _ in range(3 * FAILURES):
        answer = httpx.get(f"{service.url}/v1/tenants", headers={"X-Forwarded-For": "192.0.2.3"})
        problem(answer, 401, "unauthorized")
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    assert _get(service, key, "192.0.2.3").status_code == 200


def _policy(*patterns: str) -> dict[str, Any]:
    return {"allow_origins": list(patterns)}


def test_a_policy_has_at_most_so_many_entries(api: Api) -> None:
    tenant = api.new_tenant()
    origins = [f"https://{name}.example.com" for name in "abcd"]
    answer = api.put_policy(tenant, _policy(*origins))
    assert "CORSPOLICY_MAX_ENTRIES_PER_POLICY" in problem(answer, 422, "too-many-entries")["detail"]
    assert api.put_policy(tenant, _policy(*origins[:3])).status_code == 200
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    problem(api.http.post(path, json={"pattern": origins[3]}), 422, "too-many-entries")
    # What is there is there, whoever admits it again.
    assert api.http.post(path, json={"pattern": origins[2]}).status_code == 200
    api.remove(tenant, api.http.get(path).json()["items"][0]["id"])
    assert api.http.post(path, json={"pattern": origins[3]}).status_code == 201
    assert len(api.http.get(path).json()["items"]) == 3


def test_a_tenant_has_at_most_so_many_policies(api: Api) -> None:
    tenant = api.new_tenant()
    assert api.put_policy(tenant, _policy(), "billing").status_code == 201
    answer = api.put_policy(tenant, _policy(), "orders")
    assert "CORSPOLICY_MAX_POLICIES_PER_TENANT" in problem(answer, 422, "too-many-policies")["detail"]
    assert api.put_policy(tenant, _policy("https://a.example.com"), "billing").status_code == 200
    path = f"/v1/tenants/{tenant}/policies"
    assert api.http.delete(f"{path}/billing", headers={"If-Match": "*"}, params=CONFIRM).status_code == 204
    assert api.put_policy(tenant, _policy(), "orders").status_code == 201


def test_what_is_over_a_limit_that_was_lowered_can_be_made_less_but_not_more(database_url: str, redis_url: str) -> None:
    environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    key = admin_key(database_url)
    with running("policy_service.app:create_app", environment) as process:
        api = Api(process.url, key)
        with api.http:
            tenant = api.new_tenant()
            assert api.put_policy(tenant, _policy(*(f"https://a{n}.example.com" for n in range(5)))).status_code == 200
            large = api.new_tenant()
            assert api.put_policy(large, {"expose_headers": ["x" * 2000, "y" * 2000]}).status_code == 200
    lowered = {"CORSPOLICY_MAX_ENTRIES_PER_POLICY": "2", "CORSPOLICY_MAX_DOCUMENT_BYTES": "1024"}
    with running("policy_service.app:create_app", {**environment, **lowered}) as process:
        api = Api(process.url, key)
        with api.http:
            path = f"/v1/tenants/{tenant}/policies/default/origins"
            problem(api.http.post(path, json={"pattern": "https://b.example.com"}), 422, "too-many-entries")
            first = api.http.get(path).json()["items"][0]
            patched = api.http.patch(f"{path}/{first['id']}", json={"note": "x"}, headers={"If-Match": "*"})
            assert patched.status_code == 200
            api.remove(tenant, first["id"])
            problem(api.http.post(path, json={"pattern": "https://b.example.com"}), 422, "too-many-entries")
            answer = api.put_policy(large, {"expose_headers": ["x" * 2000, "y" * 2001]})
            problem(answer, 422, "document-too-large")
            assert api.put_policy(large, {"expose_headers": ["x" * 2000]}).status_code == 200
            problem(api.put_policy(large, {"expose_headers": ["x" * 2001]}), 422, "document-too-large")
            assert api.put_policy(large, {}).status_code == 200
            problem(api.put_policy(large, {"expose_headers": ["x" * 2000]}), 422, "document-too-large")


def test_what_is_sent_is_counted_before_it_is_checked(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    # Not one of them is valid: which is found out one by one.
    origins, names = _policy(*["x"] * 4), {"allow_headers": [" "] * 5}
    for values, code, setting in (
        (origins, "too-many-entries", "CORSPOLICY_MAX_ENTRIES_PER_POLICY"),
        (names, "too-many-names", "CORSPOLICY_MAX_NAMES_PER_LIST"),
    ):
        whole = {"policies": {"default": values}}
        for answer in (
            api.put_policy(tenant, values),
            api.http.put(path, json=whole, headers={"If-Match": "*"}),
            api.http.post("/v1/decisions", json={"tenant": tenant, "draft": values}),
        ):
            assert setting in problem(answer, 422, code)["detail"]
    answer = api.http.put(path, json={"policies": {"A": [], "B": [], "C": []}}, headers={"If-Match": "*"})
    assert "CORSPOLICY_MAX_POLICIES_PER_TENANT" in problem(answer, 422, "too-many-policies")["detail"]


def test_a_large_body_costs_more_than_one_request_and_a_key_without_tokens_is_not_looked_up(
    service: Process, api: Api
) -> None:
    key, address = new_key(api, role="reader")["key"], "192.0.2.5"
    wrong = forged(key, secret="0" * 64)
    # Who lacks its secret takes none of its tokens.
    for _ in range(BURST + 1):
        problem(_get(service, wrong, address), 401, "unauthorized")
    body = b"[" + b",".join([b'{"a":1}'] * 120_000) + b"]"
    with client_with(api, key) as http:
        requests = 0
        while (answer := http.post("/v1/decisions", content=body)).status_code != 429:
            problem(answer, 422)
            requests += 1
    assert 0 < requests < BURST // 2
    problem(_get(service, wrong, address), 429, "too-many-requests")
