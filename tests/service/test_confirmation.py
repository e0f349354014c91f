"""A change that takes away more than half of a policy's origins has to be confirmed, and says what would break."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.helpers import CONFIRM, problem
from tests.support import Api

ANY = {"If-Match": "*"}
ORIGINS = [f"https://{name}.example.com" for name in "abcd"]
PAST, LATER = "2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def _put(api: Api, tenant: str, origins: list[Any], service: str = "default", **settings: Any) -> httpx.Response:
    path = f"/v1/tenants/{tenant}/policies/{service}"
    return api.http.put(path, json={"allow_origins": origins, **settings}, headers=ANY)


def _with(api: Api, origins: list[Any], service: str = "default") -> str:
    """A new tenant with that policy."""
    tenant = api.new_tenant()
    assert api.put_policy(tenant, {"allow_origins": origins}, service).is_success
    return tenant


def _is_asked(answer: httpx.Response) -> list[str]:
    """The details of the errors of a change that has to be confirmed."""
    body = problem(answer, 409, "confirmation-required")
    assert "confirm=true" in body["detail"]
    assert {item["code"] for item in body["errors"]} == {"origins_removed"}
    return [item["detail"] for item in body["errors"]]


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (ORIGINS[:1], [], 1),
        (ORIGINS, [], 4),
        (ORIGINS, ORIGINS[:1], 3),
        (ORIGINS[:3], ORIGINS[:1], 2),
        (ORIGINS[:1], ORIGINS[1:2], 1),
        (ORIGINS[:2], ["https://*.other.example"], 2),
        (["*"], ORIGINS, 1),
        (["https://*.example.com"], ORIGINS, 1),
        (ORIGINS[:1], [{"pattern": ORIGINS[0], "expires_at": PAST}], 1),
        ([{"pattern": ORIGINS[0], "expires_at": LATER}], [], 1),
    ],
)
def test_a_policy_that_loses_more_than_half_of_its_origins(
    api: Api, before: list[Any], after: list[Any], lost: int
) -> None:
    tenant = _with(api, before)
    path = f"/v1/tenants/{tenant}"
    tag = api.http.get(path).headers["etag"]
    (detail,) = _is_asked(_put(api, tenant, after))
    which = "its only origin" if len(before) == 1 else f"{lost} of its {len(before)} origins"
    assert detail.startswith(f"Policy 'default' would no longer allow {which}: ")
    assert api.http.get(path).headers["etag"] == tag
    confirmed = api.http.put(f"{path}/policies/default", json={"allow_origins": after}, headers=ANY, params=CONFIRM)
    assert confirmed.status_code == 200
    assert confirmed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []),
        (ORIGINS, ORIGINS[:2]),
        (ORIGINS[:2], ORIGINS[1:3]),
        (ORIGINS, ["https://*.example.com"]),
        (ORIGINS, ["*"]),
        (["https://a.example.com:8443"], ["https://a.example.com:*"]),
        (ORIGINS, [{"pattern": origin, "expires_at": LATER} for origin in ORIGINS]),
        ([{"pattern": origin, "expires_at": PAST} for origin in ORIGINS], []),
        ([*({"pattern": origin, "expires_at": PAST} for origin in ORIGINS[:3]), ORIGINS[3]], ORIGINS[3:]),
    ],
)
def test_a_policy_that_loses_less_or_nobody(api: Api, before: list[Any], after: list[Any]) -> None:
    assert _put(api, _with(api, before), after).status_code == 200


def test_an_entry_beside_another_is_taken_back_just_so_and_the_last_one_not(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    first, second = (f"{path}/{api.allow(tenant, origin)['id']}" for origin in ORIGINS[:2])
    assert api.http.delete(first).status_code == 204
    assert _is_asked(api.http.delete(second)) == [
        f"Policy 'default' would no longer allow its only origin: {ORIGINS[1]}."
    ]
    _is_asked(api.http.patch(second, json={"expires_at": PAST}, headers=ANY))
    assert api.http.delete(second, params=CONFIRM).status_code == 204


def test_a_policy_of_a_service_is_deleted_just_so_where_the_default_admits_as_many(api: Api) -> None:
    tenant = _with(api, ORIGINS[:2], "billing")
    path = f"/v1/tenants/{tenant}/policies/billing"
    (detail,) = _is_asked(api.http.delete(path, headers=ANY))
    assert detail.startswith("Policy 'billing' would no longer allow 2 of its 2 origins")
    assert _put(api, tenant, ["https://*.example.com"]).status_code == 200
    assert api.http.delete(path, headers=ANY).status_code == 204
    _is_asked(api.http.delete(f"/v1/tenants/{tenant}/policies/default", headers=ANY))


def test_a_tenant_that_admits_somebody_is_deleted_only_if_that_is_confirmed(api: Api) -> None:
    tenant = _with(api, ORIGINS)
    assert api.put_policy(tenant, {"allow_origins": ORIGINS[:1]}, "billing").status_code == 201
    path = f"/v1/tenants/{tenant}"
    problem(api.http.delete(path), 428, "precondition-required")
    details = _is_asked(api.http.delete(path, headers=ANY))
    assert [detail.split(" ")[1] for detail in details] == ["'billing'", "'default'"]
    assert api.http.get(path).status_code == 200
    assert api.http.delete(path, headers=ANY, params=CONFIRM).status_code == 204
    assert api.http.delete(f"/v1/tenants/{api.new_tenant()}", headers=ANY).status_code == 204


def test_of_many_origins_ten_are_named(api: Api) -> None:
    origins = [f"https://{index:02}.example.com" for index in range(25)]
    (detail,) = _is_asked(_put(api, _with(api, origins), origins[:5]))
    assert detail.endswith(f"{', '.join(origins[5:15])} and 10 more.")
