"""/v1/tenants/{tenant}/policies/{service}/origins/{entry}: changing and removing; preconditions; what is not there."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.service.helpers import CONFIRM, errors, etag, path_of, problem, raw, together
from tests.support import Api

A = "https://a.example.com"
LATER = "2099-01-01T00:00:00Z"
FIELDS = {"note": "n", "expires_at": LATER}
CHANGES = ["POST", "PATCH", "DELETE"]
ANY = {"If-Match": "*"}


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture
def path(api: Api) -> str:
    return path_of(api) + "/origins"


@pytest.fixture
def entry(api: Api, path: str) -> str:
    """The path of an entry that has a note and an expiry."""
    answer = api.http.post(path, json={"pattern": A, **FIELDS})
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["location"]
    return location


class Kept(NamedTuple):
    """A policy that nothing changes any more, the entry in it, its former ETag and the current one."""

    path: str
    entry: str
    stale: str
    tag: str


@pytest.fixture(scope="module")
def kept(api: Api) -> Kept:
    path = path_of(api) + "/origins"
    added = api.http.post(path, json={"pattern": A, **FIELDS})
    entry = added.headers["location"]
    return Kept(path, entry, etag(added), etag(api.http.patch(entry, json={"note": "new"}, headers=ANY)))


@pytest.mark.parametrize(
    "patch",
    [{"note": "other"}, {"note": None}, {"note": ""}, {"expires_at": None}, {"expires_at": "2098-01-01T00:00:00Z"},
     {"note": None, "expires_at": None}, {"note": "a", "expires_at": "2001-01-01T00:00:00Z"}],
)  # fmt: skip
def test_a_patch_changes_what_it_names_and_null_clears_it(
    api: Api, path: str, entry: str, patch: dict[str, Any]
) -> None:
    before = api.http.get(path).json()["items"][0]
    answer = api.http.patch(entry, json=patch, headers=ANY, params=CONFIRM)
    assert answer.status_code == 200, answer.text
    after = api.http.get(path)
    assert after.json()["items"] == [{**before, **FIELDS, **patch}]
    assert {**answer.json(), **after.json()["items"][0]} == answer.json()
    assert etag(answer) == f'"{answer.json()["revision"]}"' == etag(api.http.get(path.removesuffix("/origins")))


@pytest.mark.parametrize("patch", [{}, {"note": "n"}, FIELDS, {"expires_at": "2099-01-01T01:00:00+01:00"}])
def test_a_patch_that_changes_nothing_makes_no_revision(api: Api, path: str, entry: str, patch: dict[str, Any]) -> None:
    before = etag(api.http.get(path.removesuffix("/origins")))
    assert etag(api.http.patch(entry, json=patch, headers=ANY)) == before


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        (None, ("not_patchable", "")),
        ([], ("not_patchable", "")),
        ("note", ("not_patchable", "")),
        ({"pattern": "https://b.example.com"}, ("not_patchable", "/pattern")),
        ({"pattern": A}, ("not_patchable", "/pattern")),
        ({"note": 5}, ("note_invalid", "/note")),
        ({"note": "\0"}, ("note_invalid", "/note")),
        ({"note": "\udfff"}, ("note_invalid", "/note")),
        ({"note": "x" * 501}, ("note_invalid", "/note")),
        ({"expires_at": "soon"}, ("expires_at_invalid", "/expires_at")),
        ({"expires_at": False}, ("expires_at_invalid", "/expires_at")),
        ({"enabled": True}, ("unknown_field", "/enabled")),
    ],
)
def test_a_patch_that_is_none_is_refused_and_changes_nothing(
    api: Api, kept: Kept, patch: Any, expected: tuple[str, str]
) -> None:
    before = api.http.get(kept.path).json()
    answer = api.http.patch(kept.entry, content=raw(patch), headers=ANY)
    problem(answer, 422, "invalid-policy")
    assert errors(answer) == [expected]
    assert api.http.get(kept.path).json() == before


def test_a_removed_origin_is_gone_and_its_entry_unknown(api: Api, path: str, entry: str) -> None:
    assert api.http.post(path, json={"pattern": "https://b.example.com"}).status_code == 201
    removed = api.http.delete(entry)
    assert (removed.status_code, removed.content) == (204, b"")
    assert removed.headers["etag"] == etag(api.http.get(path.removesuffix("/origins")))
    assert [item["pattern"] for item in api.http.get(path).json()["items"]] == ["https://b.example.com"]
    problem(api.http.delete(entry), 404, "unknown-entry")
    problem(api.http.patch(entry, json={}), 404, "unknown-entry")


def test_one_of_many_simultaneous_removals_succeeds(api: Api, entry: str) -> None:
    answers = together(10, lambda _: api.http.delete(entry, params=CONFIRM))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 9


def _call(api: Api, method: str, path: str, entry: str, headers: dict[str, str]) -> Any:
    target = path if method == "POST" else entry
    body = {"POST": {"pattern": "https://b.example.com"}, "PATCH": {"note": "changed"}}.get(method)
    return api.http.request(method, target, json=body, headers=headers, params=CONFIRM)


@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize("form", [None, "*", "{tag}", '"0", {tag}', '{tag} ,"0"'])
def test_an_entry_changes_with_any_and_with_the_current_etag_and_where_nothing_is_overwritten_without(
    api: Api, path: str, entry: str, method: str, form: str | None
) -> None:
    tag = etag(api.http.get(path.removesuffix("/origins")))
    headers = {} if form is None else {"If-Match": form.format(tag=tag)}
    answer = _call(api, method, path, entry, headers)
    if form is None and method == "PATCH":
        problem(answer, 428, "precondition-required")
        return
    assert answer.is_success, answer.text
    assert answer.headers["etag"] != tag


@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize("form", ["{stale}", '"0"', "W/{tag}", "", "x", '{stale}, "0"', "{tag}x", '"*"'])
def test_an_entry_does_not_change_with_another_etag(api: Api, kept: Kept, method: str, form: str) -> None:
    before = api.http.get(kept.path).json()
    headers = {"If-Match": form.format(stale=kept.stale, tag=kept.tag)}
    answer = _call(api, method, kept.path, kept.entry, headers)
    problem(answer, 412, "stale")
    assert answer.headers["etag"] == kept.tag
    assert api.http.get(kept.path).json() == before


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("segment", ["x", "00000000-0000-0000-0000-000000000000", "%00", "%FF", "*", "%F0%9F%A6%80"])
def test_an_unknown_entry_is_not_found(api: Api, kept: Kept, method: str, segment: str) -> None:
    body: dict[str, Any] | None = {} if method == "PATCH" else None
    problem(api.http.request(method, f"{kept.path}/{segment}", json=body), 404, "unknown-entry")


def test_an_entry_is_known_in_its_own_policy_only(api: Api, entry: str) -> None:
    other = f"{path_of(api)}/origins/{entry.rpartition('/')[2]}"
    problem(api.http.delete(other), 404, "unknown-entry")
    assert api.http.delete(entry, params=CONFIRM).status_code == 204


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("/v1/tenants/platform/policies/nothing", "unknown-policy"),
        ("/v1/tenants/nobody/policies/default", "unknown-tenant"),
    ],
)
def test_origins_of_an_unknown_policy_or_tenant_are_not_found(api: Api, policy: str, code: str) -> None:
    problem(api.http.get(f"{policy}/origins"), 404, code)
    for method in CHANGES:
        problem(_call(api, method, f"{policy}/origins", f"{policy}/origins/x", {}), 404, code)
