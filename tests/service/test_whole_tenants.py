"""PUT /v1/tenants/{tenant} and ?include=policies: a tenant with all its policies, in one request and one revision."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.service.helpers import FULL, errors, etag, problem, raw, together
from tests.support import Api

WHOLE: dict[str, Any] = {
    "name": "Acme ❤",
    "policies": {"default": {"allow_origins": ["https://a.example.com"]}, "billing": FULL},
}


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture
def path() -> str:
    """The path of a tenant that does not exist."""
    return f"/v1/tenants/w-{secrets.token_hex(5)}"


def _read(api: Api, path: str) -> dict[str, Any]:
    read: dict[str, Any] = api.http.get(path, params={"include": "policies"}).json()
    return read


def test_a_tenant_is_created_with_its_policies_in_one_revision(api: Api, path: str) -> None:
    created = api.http.put(path, json=WHOLE)
    assert created.status_code == 201
    shown = api.http.get(path)
    assert created.json() == {
        **{name: shown.json()[name] for name in ("tenant", "name", "services", "revision")},
        "warnings": [],
    }
    assert etag(created) == etag(shown)
    assert (shown.json()["name"], shown.json()["services"]) == ("Acme ❤", ["billing", "default"])
    listed = api.http.get(f"{path}/policies").json()["items"]
    assert {policy["service"]: policy["revision"] for policy in listed} == dict.fromkeys(
        ("billing", "default"), shown.json()["revision"]
    )
    assert listed[0]["allow_methods"] == FULL["allow_methods"]


def test_what_was_read_can_be_written_back_and_is_no_change(api: Api, path: str) -> None:
    api.http.put(path, json=WHOLE)
    before = _read(api, path)
    again = api.http.put(path, json=before, headers={"If-Match": f'"{before["revision"]}"'})
    assert again.status_code == 200
    assert _read(api, path) == before


def test_a_policy_that_is_left_out_is_deleted_and_entries_that_stay_keep_their_id(api: Api, path: str) -> None:
    api.http.put(path, json=WHOLE)
    before = _read(api, path)
    default = {"allow_origins": ["https://b.example.com", "https://a.example.com"], "max_age": 5}
    written = api.http.put(path, json={"policies": {"default": default}}, headers={"If-Match": "*"})
    assert written.status_code == 200
    after = _read(api, path)
    assert after["revision"] > before["revision"]
    assert (after["name"], list(after["policies"])) == ("", ["default"])
    kept, new = before["policies"]["default"]["allow_origins"], after["policies"]["default"]["allow_origins"]
    assert [entry["pattern"] for entry in new] == default["allow_origins"]
    assert new[1] == kept[0]


def test_a_tenant_that_is_there_changes_only_with_the_current_etag(api: Api, path: str) -> None:
    first = etag(api.http.put(path, json=WHOLE))
    problem(api.http.put(path, json={"policies": {}}), 428, "precondition-required")
    current = etag(api.http.put(path, json={"policies": {}}, headers={"If-Match": first}, params={"confirm": True}))
    stale = api.http.put(path, json=WHOLE, headers={"If-Match": first})
    problem(stale, 412, "stale")
    assert stale.headers["etag"] == current
    assert _read(api, path)["policies"] == {}


@pytest.mark.parametrize("if_match", ["*", None])
def test_a_tenant_that_is_gone_is_not_made_again_with_an_etag(api: Api, path: str, if_match: str | None) -> None:
    first = etag(api.http.put(path, json=WHOLE))
    assert api.http.delete(path, headers={"If-Match": first}, params={"confirm": True}).status_code == 204
    problem(api.http.put(path, json=WHOLE, headers={"If-Match": if_match or first}), 404, "unknown-tenant")


def test_one_of_many_simultaneous_creations_wins(api: Api, path: str) -> None:
    answers = together(10, lambda index: api.http.put(path, json={"name": str(index), "policies": {}}))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] + [428] * 9
    winner = next(answer for answer in answers if answer.status_code == 201)
    assert api.http.get(path).json()["name"] == winner.json()["name"]


def test_a_dry_run_writes_nothing_and_a_loss_has_to_be_confirmed(api: Api, path: str) -> None:
    tried = api.http.put(path, json=WHOLE, params={"dry_run": True})
    assert (tried.status_code, tried.json()["dry_run"]) == (200, True)
    problem(api.http.get(path), 404, "unknown-tenant")
    api.http.put(path, json=WHOLE)
    problem(api.http.put(path, json={"policies": {}}, headers={"If-Match": "*"}), 409, "confirmation-required")
    confirmed = api.http.put(path, json={"policies": {}}, headers={"If-Match": "*"}, params={"confirm": True})
    assert confirmed.status_code == 200


def test_warnings_point_into_the_body(api: Api, path: str) -> None:
    written = api.http.put(path, json={"policies": {"billing": {"max_age": 86400}}}).json()
    assert [warning["pointer"] for warning in written["warnings"]] == ["/policies/billing/max_age"]


def test_everything_wrong_is_told_at_once_and_nothing_is_written(api: Api, path: str) -> None:
    policies = {
        "default": {"allow_origins": ["https://a.example.com", "https://a.example.com/"], "max_agee": 1},
        "a/b~c": {"allow_methods": ["TRACE"]},
        "billing": 5,
    }
    answer = api.http.put(path, json={"name": 5, "polices": {}, "policies": policies})
    assert sorted(errors(answer)) == [
        ("method_forbidden", "/policies/a~1b~0c/allow_methods/0"),
        ("name_invalid", "/name"),
        ("not_an_object", "/policies/billing"),
        ("origin_path", "/policies/default/allow_origins/1"),
        ("service_invalid", "/policies/a~1b~0c"),
        ("unknown_field", "/polices"),
        ("unknown_field", "/policies/default/max_agee"),
    ]
    problem(api.http.get(path), 404, "unknown-tenant")


@pytest.mark.parametrize("body", [None, [], "x", {}, {"name": "x"}, {"policies": None}, {"policies": ["default"]}])
def test_policies_are_never_deleted_by_a_body_that_has_none(api: Api, path: str, body: Any) -> None:
    api.http.put(path, json=WHOLE)
    before = _read(api, path)
    assert ("not_an_object", "/policies") in errors(api.http.put(path, content=raw(body), headers={"If-Match": "*"}))
    assert _read(api, path) == before


def test_what_can_be_no_tenant_is_refused(api: Api) -> None:
    problem(api.http.put("/v1/tenants/Acme", json={"policies": {}}), 422, "invalid-tenant")


def test_pages_carry_policies_when_asked_to(api: Api, path: str) -> None:
    api.http.put(path, json=WHOLE)
    before = path.rpartition("/")[2][:-1]
    (item,) = api.http.get("/v1/tenants", params={"include": "policies", "cursor": before, "limit": 1}).json()["items"]
    assert item == _read(api, path)
    plain = api.http.get("/v1/tenants", params={"limit": 1}).json()["items"][0]
    assert plain["policies"] is None
    problem(api.http.get("/v1/tenants", params={"include": "keys"}), 422)


def test_a_page_of_large_policies_ends_early_and_the_next_goes_on(api: Api) -> None:
    origins = [{"pattern": f"https://a{index}.example.com", "note": secrets.token_hex(250)} for index in range(900)]
    slugs = [f"zz-large-{index}" for index in range(8)]
    for slug in slugs:
        assert api.http.put(
            f"/v1/tenants/{slug}", json={"policies": {"default": {"allow_origins": origins}}}
        ).is_success
    query = {"include": "policies", "cursor": "zz-larg", "limit": "500"}
    first = api.http.get("/v1/tenants", params=query).json()
    assert 0 < len(first["items"]) < 8
    second = api.http.get("/v1/tenants", params={**query, "cursor": first["next_cursor"]}).json()
    found = [item["tenant"] for item in (*first["items"], *second["items"])]
    assert found == slugs
    assert second["next_cursor"] is None
