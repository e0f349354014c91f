"""/v1/tenants: creating, paging, renaming, deleting; the reserved tenant; revisions."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.service.helpers import CONFIRM, errors, etag, problem, raw, together
from tests.support import Api


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def test_a_new_tenant_is_shown_with_location_etag_and_an_empty_default_policy(api: Api) -> None:
    slug = f"n-{secrets.token_hex(4)}"
    created = api.http.post("/v1/tenants", json={"tenant": slug, "name": "Ünï ❤ Ltd."})
    assert created.status_code == 201
    body = created.json()
    assert (body["tenant"], body["name"], body["services"]) == (slug, "Ünï ❤ Ltd.", ["default"])
    assert created.headers["location"] == f"/v1/tenants/{slug}"
    assert etag(created) == f'"{body["revision"]}"'
    read = api.http.get(created.headers["location"])
    assert read.json() == body
    assert etag(read) == etag(created)
    policy = api.http.get(f"/v1/tenants/{slug}/policies/default").json()
    assert policy["allow_origins"] == []


def test_the_name_is_optional_and_empty_without_one(api: Api) -> None:
    assert api.http.get(f"/v1/tenants/{api.new_tenant()}").json()["name"] == ""


@pytest.mark.parametrize("slug", ["a", "0", "a" * 63, "a--b", "0-0", "xn--bcher-kva", "default"])
def test_what_a_tenant_may_be_called(api: Api, slug: str) -> None:
    assert api.http.post("/v1/tenants", json={"tenant": slug}).status_code == 201
    assert api.http.get(f"/v1/tenants/{slug}").json()["tenant"] == slug


@pytest.mark.parametrize(
    "slug",
    [
        "", "a" * 64, "Acme", "-acme", "acme-", "a.b", "a_b", "a b", " acme", "acme\n", "acme\0", "\0", "bücher", "ａ",
        "٣", "a/b", "..", "*", "\ud800", "a\udfffb", None, 5, 1.5, True, [], {}, ["acme"],
    ],
)  # fmt: skip
def test_what_a_tenant_may_not_be_called(api: Api, slug: Any) -> None:
    answer = api.http.post("/v1/tenants", content=raw({"tenant": slug}))
    assert errors(answer) == [("tenant_invalid", "/tenant")]


@pytest.mark.parametrize(
    "name", ["", "A", "x" * 200, "Łódź 株式会社 ❤", '"; DROP TABLE tenants; --', "\U0001f980" * 200]
)
def test_names_that_are_kept_as_they_are(api: Api, name: str) -> None:
    slug = api.new_tenant()
    renamed = api.http.patch(f"/v1/tenants/{slug}", json={"name": name}, headers={"If-Match": "*"})
    assert renamed.json()["name"] == name
    assert api.http.get(f"/v1/tenants/{slug}").json()["name"] == name


@pytest.mark.parametrize("name", ["x" * 201, "a\0", "\ud800", "x\udfff", "a\nb", "\x1b[31m", "\u202e", None, 1, [], {}])
def test_names_that_are_refused_at_creation_and_at_renaming(api: Api, name: Any) -> None:
    slug = api.new_tenant()
    other = f"x-{secrets.token_hex(4)}"
    created = api.http.post("/v1/tenants", content=raw({"tenant": other, "name": name}))
    assert errors(created) == [("name_invalid", "/name")]
    problem(api.http.get(f"/v1/tenants/{other}"), 404, "unknown-tenant")
    renamed = api.http.patch(f"/v1/tenants/{slug}", content=raw({"name": name}), headers={"If-Match": "*"})
    assert errors(renamed) == [("name_invalid", "/name")]


def test_everything_wrong_with_a_new_tenant_is_told_at_once(api: Api) -> None:
    answer = api.http.post("/v1/tenants", content=raw({"name": 5, "tenant": "A", "a/b~c": 1, "\ud800": 2}))
    assert sorted(errors(answer)) == [
        ("name_invalid", "/name"),
        ("tenant_invalid", "/tenant"),
        ("unknown_field", "/a~1b~0c"),
        ("unknown_field", "/\ud800"),
    ]


@pytest.mark.parametrize("body", [None, True, 0, 1.5, "acme", [], ["acme"]])
def test_a_body_that_is_no_object_is_refused(api: Api, body: Any) -> None:
    slug = api.new_tenant()
    created = api.http.post("/v1/tenants", content=raw(body))
    assert ("not_an_object", "") in errors(created)
    renamed = api.http.patch(f"/v1/tenants/{slug}", content=raw(body), headers={"If-Match": "*"})
    assert errors(renamed) == [("not_an_object", "")]


def test_a_second_tenant_of_the_same_name_conflicts_and_changes_nothing(api: Api) -> None:
    slug = api.new_tenant()
    before = api.http.get(f"/v1/tenants/{slug}")
    problem(api.http.post("/v1/tenants", json={"tenant": slug, "name": "other"}), 409, "tenant-exists")
    after = api.http.get(f"/v1/tenants/{slug}")
    assert (after.json(), etag(after)) == (before.json(), etag(before))


def test_one_of_many_simultaneous_creations_wins(api: Api) -> None:
    slug = f"race-{secrets.token_hex(4)}"
    answers = together(30, lambda _: api.http.post("/v1/tenants", json={"tenant": slug}))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 29


@pytest.mark.parametrize("tenant", ["nobody-here", "Acme", "a" * 64, "a_b", "%00", "%ED%A0%80", "%F0%9F%A6%80", "%2e"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_tenant_is_not_found(api: Api, method: str, tenant: str) -> None:
    body = {"name": "x"} if method == "PATCH" else None
    answer = api.http.request(method, f"/v1/tenants/{tenant}", json=body, headers={"If-Match": "*"})
    problem(answer, 404, "unknown-tenant")


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_hold_every_tenant_once_in_order_while_others_come_and_go(api: Api, limit: int) -> None:
    mark = f"page-{secrets.token_hex(4)}"
    slugs = [f"{mark}-{index}" for index in range(7)]
    for slug in reversed(slugs):
        assert api.http.post("/v1/tenants", json={"tenant": slug}).status_code == 201
    seen: list[str] = []
    cursor: str | None = mark
    while cursor is not None:
        page = api.http.get("/v1/tenants", params={"cursor": cursor, "limit": limit}).json()
        assert len(page["items"]) <= limit
        seen += [item["tenant"] for item in page["items"]]
        if cursor == mark:  # One comes and one goes behind the reader, which moves nothing before it.
            assert api.http.post("/v1/tenants", json={"tenant": mark}).status_code == 201
            assert api.http.delete(f"/v1/tenants/{slugs[0]}", headers={"If-Match": "*"}).status_code == 204
        cursor = page["next_cursor"]
    assert [slug for slug in seen if slug.startswith(mark)] == slugs
    assert len(seen) == len(set(seen))


def test_the_first_page_starts_at_the_beginning_and_the_last_has_no_cursor(api: Api) -> None:
    page = api.http.get("/v1/tenants", params={"limit": 500}).json()
    assert page["next_cursor"] is None
    assert "platform" in [item["tenant"] for item in page["items"]]
    exact = api.http.get("/v1/tenants", params={"limit": len(page["items"])}).json()
    assert exact == page


@pytest.mark.parametrize("cursor", ["", "A", "a b", "\0", "ü", "../x", "x" * 400])
def test_a_cursor_that_no_page_gave_is_refused(api: Api, cursor: str) -> None:
    problem(api.http.get("/v1/tenants", params={"cursor": cursor}), 400, "malformed-cursor")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=" + "9" * 5000]
)
def test_a_limit_out_of_range_is_refused(api: Api, query: str) -> None:
    problem(api.http.get(f"/v1/tenants?{query}"), 422, "invalid-request")


def test_renaming_needs_the_current_etag(api: Api) -> None:
    path = f"/v1/tenants/{api.new_tenant()}"
    first = etag(api.http.get(path))
    problem(api.http.patch(path, json={"name": "a"}), 428, "precondition-required")
    renamed = api.http.patch(path, json={"name": "b"}, headers={"If-Match": first})
    assert renamed.status_code == 200
    assert renamed.json()["name"] == "b"
    assert etag(renamed) == etag(api.http.get(path)) != first
    stale = api.http.patch(path, json={"name": "c"}, headers={"If-Match": first})
    problem(stale, 412, "stale")
    assert stale.headers["etag"] == etag(renamed)
    assert api.http.get(path).json() == renamed.json()


@pytest.mark.parametrize("body", [{}, {"name": "same"}])
def test_a_rename_that_changes_nothing_makes_no_revision(api: Api, body: dict[str, Any]) -> None:
    path = f"/v1/tenants/{api.new_tenant()}"
    before = api.http.patch(path, json={"name": "same"}, headers={"If-Match": "*"})
    after = api.http.patch(path, json=body, headers={"If-Match": etag(before)})
    assert after.status_code == 200
    assert (after.json(), etag(after)) == (before.json(), etag(before))


def test_the_slug_of_a_tenant_is_for_ever(api: Api) -> None:
    path = f"/v1/tenants/{api.new_tenant()}"
    answer = api.http.patch(path, json={"tenant": "other"}, headers={"If-Match": "*"})
    assert errors(answer) == [("unknown_field", "/tenant")]


def test_deleting_needs_the_current_etag_and_takes_everything(api: Api) -> None:
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"
    first = etag(api.http.get(path))
    api.allow(tenant, "https://a.example.com")
    current = etag(api.http.get(path))
    problem(api.http.delete(path), 428, "precondition-required")
    stale = api.http.delete(path, headers={"If-Match": first})
    problem(stale, 412, "stale")
    assert stale.headers["etag"] == current
    deleted = api.http.delete(path, headers={"If-Match": current}, params=CONFIRM)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert _revision(deleted.headers["etag"]) > _revision(current)
    for gone in (path, f"{path}/policies", f"{path}/policies/default", f"{path}/policies/default/origins"):
        problem(api.http.get(gone), 404, "unknown-tenant")
    problem(api.http.delete(path, headers={"If-Match": "*"}), 404, "unknown-tenant")


def test_the_revision_grows_across_deletion_and_creation(api: Api) -> None:
    slug = api.new_tenant()
    path = f"/v1/tenants/{slug}"
    revisions = [_revision(etag(api.http.get(path)))]
    for _ in range(3):
        revisions.append(_revision(etag(api.http.delete(path, headers={"If-Match": "*"}))))
        created = api.http.post("/v1/tenants", json={"tenant": slug})
        assert created.json()["services"] == ["default"]
        revisions.append(_revision(etag(created)))
    assert revisions == sorted(set(revisions))


def test_the_platform_tenant_is_there_from_the_start_and_stays(api: Api) -> None:
    platform = api.http.get("/v1/tenants/platform")
    assert platform.json()["services"] == ["default"]
    problem(api.http.post("/v1/tenants", json={"tenant": "platform"}), 409, "tenant-exists")
    for headers in ({}, {"If-Match": "*"}, {"If-Match": etag(platform)}):
        problem(api.http.delete("/v1/tenants/platform", headers=headers), 409, "reserved-tenant")
    assert api.http.get("/v1/tenants/platform").json() == platform.json()


def _revision(tag: str) -> int:
    return int(tag.strip('"'))
