"""/v1/tenants/{tenant}/policies/{service}/origins: entries one by one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.helpers import errors, etag, path_of, problem, raw, together
from tests.support import Api

A = "https://a.example.com"


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture
def path(api: Api) -> str:
    return path_of(api) + "/origins"


@pytest.fixture(scope="module")
def empty(api: Api) -> str:
    """A policy to which nothing is ever added."""
    return path_of(api) + "/origins"


def _entry(api: Api, path: str, **fields: Any) -> dict[str, Any]:
    """A new entry of that policy."""
    answer = api.http.post(path, json={"pattern": A, **fields})
    assert answer.status_code == 201, answer.text
    entry: dict[str, Any] = answer.json()
    return entry


def _policy(api: Api, path: str) -> httpx.Response:
    return api.http.get(path.removesuffix("/origins"))


def test_an_added_origin_is_created_with_location_and_etag_and_stands_in_the_policy(api: Api, path: str) -> None:
    body = {"pattern": A, "note": "front-end ❤", "expires_at": "2099-01-31T12:00:00.5Z"}
    added = api.http.post(path, json=body)
    assert added.status_code == 201
    entry = added.json()
    assert {name: entry[name] for name in body} == {**body, "expires_at": "2099-01-31T12:00:00.500000Z"}
    assert entry["created_by"].startswith("key:")
    assert added.headers["location"] == f"{path}/{entry['id']}"
    policy = _policy(api, path)
    assert etag(added) == etag(policy) == f'"{entry["revision"]}"'
    stored = {name: entry[name] for name in entry if name not in ("revision", "warnings")}
    assert policy.json()["allow_origins"] == [stored]
    assert api.http.get(path).json() == {"items": [stored], "next_cursor": None}
    changed = api.http.patch(added.headers["location"], json={"note": None}, headers={"If-Match": etag(added)})
    assert (changed.status_code, changed.json()["id"]) == (200, entry["id"])


def test_adding_an_origin_that_is_there_is_no_error_and_changes_nothing(api: Api, path: str) -> None:
    first = api.http.post(path, json={"pattern": A, "note": "first"})
    again = api.http.post(path, json={"pattern": A, "note": "second", "expires_at": "2099-01-01T00:00:00Z"})
    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert etag(again) == etag(first) == etag(_policy(api, path))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("2001-01-01T00:00:00Z", None, None),
        ("2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        ("2099-01-01T00:00:00Z", "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        (None, "2098-01-01T00:00:00Z", None),
    ],
)
def test_adding_an_origin_again_admits_it_no_shorter_than_asked_for_and_than_before(
    api: Api, path: str, first: str | None, second: str | None, expected: str | None
) -> None:
    added = api.http.post(path, json={"pattern": A, "expires_at": first}).json()
    again = api.http.post(path, json={"pattern": A, "expires_at": second})
    assert (again.status_code, again.json()["expires_at"], again.json()["id"]) == (200, expected, added["id"])
    is_past = first is not None and first.startswith("2001")
    assert [warning["code"] for warning in added["warnings"]] == (["origin_expired"] if is_past else [])


@pytest.mark.parametrize(
    "pattern",
    ["*", "http://localhost:3000", "https://*.example.com", "https://a.example.com:*", "https://[::1]:8443",
     "https://10.0.0.1", "https://xn--rsum-bpad.example", "https://_dmarc.example.com.", "capacitor://localhost"],
)  # fmt: skip
def test_patterns_that_are_stored_as_they_are(api: Api, path: str, pattern: str) -> None:
    assert api.http.post(path, json={"pattern": pattern}).json()["pattern"] == pattern
    assert [entry["pattern"] for entry in api.http.get(path).json()["items"]] == [pattern]


@pytest.mark.parametrize(
    ("pattern", "code", "suggestion"),
    [
        ("https://a.example.com/", "origin_path", A),
        ("a.example.com", "origin_scheme_missing", A),
        ("https://a.example.com:443", "origin_port_default", A),
        ("https://A.example.com", "origin_host_upper_case", A),
        ("https://bücher.example", "origin_host_unicode", "https://xn--bcher-kva.example"),
        ("https://*.bücher.example", "origin_host_unicode", "https://*.xn--bcher-kva.example"),
        ("https://[0:0::1]", "origin_ipv6_not_canonical", "https://[::1]"),
        ("null", "origin_null", None),
        ("", "origin_empty", None),
        ("https://*", "origin_wildcard_misplaced", None),
        ("https://a*.example.com", "origin_wildcard_misplaced", None),
        ("^https://.*$", "origin_regex", None),
        ("https://a.example.com\0", "origin_host_invalid", None),
        ("https://\ud800.example.com", "origin_host_unicode", None),
        ("https://" + "a" * 64 + ".example.com", "origin_label_too_long", None),
        ("https://a." + "b." * 200 + "com", "origin_host_too_long", None),
    ],
)
def test_a_malformed_origin_is_refused_with_a_suggestion_where_there_is_one(
    api: Api, empty: str, pattern: str, code: str, suggestion: str | None
) -> None:
    answer = api.http.post(empty, content=raw({"pattern": pattern}))
    problem(answer, 422, "invalid-policy")
    assert errors(answer) == [(code, "/pattern")]
    assert answer.json()["errors"][0].get("suggestion") == suggestion
    assert api.http.get(empty).json()["items"] == []


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("*", "origin_any_with_credentials"),
        ("http://a.example.com", "origin_insecure"),
        ("https://*.github.io", "origin_public_suffix"),
    ],
)
def test_what_an_origin_may_be_depends_on_the_policys_credentials(api: Api, pattern: str, code: str) -> None:
    tenant = api.new_tenant()
    for service, credentials in (("with", True), ("without", False)):
        assert api.put_policy(tenant, {"allow_credentials": credentials}, service).status_code == 201
    refused = api.http.post(f"/v1/tenants/{tenant}/policies/with/origins", json={"pattern": pattern})
    assert errors(refused) == [(code, "/pattern")]
    assert api.http.post(f"/v1/tenants/{tenant}/policies/without/origins", json={"pattern": pattern}).is_success


def test_an_origin_that_is_risky_is_added_with_a_warning(api: Api, path: str) -> None:
    answer = api.http.post(path, json={"pattern": "https://*.github.io"})
    assert answer.status_code == 201
    assert [(item["code"], item["pointer"]) for item in answer.json()["warnings"]] == [
        ("origin_public_suffix", "/pattern")
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, [("not_an_object", "")]),
        ([], [("not_an_object", "")]),
        ("https://a.example.com", [("not_an_object", "")]),
        ({}, [("origin_not_a_string", "/pattern")]),
        ({"pattern": None}, [("origin_not_a_string", "/pattern")]),
        ({"pattern": A, "note": "x" * 501}, [("note_invalid", "/note")]),
        ({"pattern": A, "note": "\0"}, [("note_invalid", "/note")]),
        ({"pattern": A, "note": "\ud800"}, [("note_invalid", "/note")]),
        ({"pattern": A, "a/b": 1}, [("unknown_field", "/a~1b")]),
        (
            {"pattern": 5, "note": 5, "expires_at": 5, "x": 5},
            [("expires_at_invalid", "/expires_at"), ("note_invalid", "/note"), ("origin_not_a_string", "/pattern"),
             ("unknown_field", "/x")],
        ),
    ],
)  # fmt: skip
def test_a_body_that_is_no_entry_is_refused_with_all_that_is_wrong(
    api: Api, empty: str, body: Any, expected: list[tuple[str, str]]
) -> None:
    assert sorted(errors(api.http.post(empty, content=raw(body)))) == expected
    assert api.http.get(empty).json()["items"] == []


TIMES = {
    "2099-12-31T23:59:59Z": "2099-12-31T23:59:59Z",
    "2001-01-01T00:00:00+02:00": "2000-12-31T22:00:00Z",
    "2099-01-01T00:00:00.000001Z": "2099-01-01T00:00:00.000001Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
}


@pytest.mark.parametrize("given", TIMES)
def test_times_that_an_entry_may_expire_at(api: Api, path: str, given: str) -> None:
    assert _entry(api, path, expires_at=given)["expires_at"] == TIMES[given]
    read = _policy(api, path).json()["allow_origins"]
    assert read[0]["expires_at"] == TIMES[given]
    written = api.http.put(path.removesuffix("/origins"), json={"allow_origins": read}, headers={"If-Match": "*"})
    assert written.json()["allow_origins"] == read


@pytest.mark.parametrize(
    "given",
    [
        "", "soon", "2099-01-01", "2099-01-01T00:00:00", "2099-13-01T00:00:00Z", "10000-01-01T00:00:00Z", "\ud800", 0,
        4e9, True, [], {}, "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999-00:01",
    ],
)  # fmt: skip
def test_times_that_are_none_or_in_no_year_are_refused(api: Api, empty: str, given: Any) -> None:
    answer = api.http.post(empty, content=raw({"pattern": A, "expires_at": given}))
    assert errors(answer) == [("expires_at_invalid", "/expires_at")]


def test_the_last_moment_of_time_is_no_error_of_the_service(api: Api, path: str) -> None:
    answer = api.http.post(path, json={"pattern": A, "expires_at": "9999-12-31T23:59:59.999999Z"})
    assert answer.status_code in (201, 422), answer.text


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_hold_every_entry_once_in_the_order_of_the_patterns(api: Api, path: str, limit: int) -> None:
    patterns = ["*", *(f"https://{name}.example.com" for name in ("z", "m", "b", "a")), "http://localhost:*"]
    for pattern in patterns:
        assert api.http.post(path, json={"pattern": pattern}).status_code == 201
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": limit}
    while parameters.get("cursor", "") is not None:
        page = api.http.get(path, params=parameters).json()
        assert len(page["items"]) <= limit
        seen += [item["pattern"] for item in page["items"]]
        parameters["cursor"] = page["next_cursor"]
    assert seen == sorted(patterns)


def test_the_longest_pattern_can_be_a_cursor(api: Api, path: str) -> None:
    host = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    longest = f"{'s' * 64}://{host}:65535"
    for pattern in (longest, "z://z"):
        assert api.http.post(path, json={"pattern": pattern}).status_code == 201
    first = api.http.get(path, params={"limit": 1}).json()
    rest = api.http.get(path, params={"cursor": first["next_cursor"]}).json()
    assert [page["items"][0]["pattern"] for page in (first, rest)] == [longest, "z://z"]


def test_many_simultaneous_additions_all_succeed_and_all_are_there(api: Api, path: str) -> None:
    patterns = [f"https://{index:02}.example.com" for index in range(30)]
    answers = together(30, lambda index: api.http.post(path, json={"pattern": patterns[index]}))
    assert [answer.status_code for answer in answers] == [201] * 30
    assert len({etag(answer) for answer in answers}) == 30
    assert [entry["pattern"] for entry in api.http.get(path).json()["items"]] == patterns


def test_one_of_many_simultaneous_additions_of_one_origin_makes_it(api: Api, path: str) -> None:
    answers = together(20, lambda _: api.http.post(path, json={"pattern": A}))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.http.get(path).json()["items"]) == 1
