"""What a policy holds: what a write keeps, what it refuses, what it warns of, what can be written back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.helpers import FULL, errors, etag, path_of, raw
from tests.support import Api


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.mark.parametrize("body", [{}, FULL, {"allow_origins": ["*"], "allow_methods": ["put", "PUT"]}])
def test_writing_the_same_again_makes_no_revision(api: Api, body: dict[str, Any]) -> None:
    path = path_of(api)
    first = api.http.put(path, json=body, headers={"If-Match": "*"})
    again = api.http.put(path, json=body, headers={"If-Match": etag(first)})
    assert again.status_code == 200
    assert (again.json(), etag(again)) == (first.json(), etag(first))


def test_what_was_read_can_be_written_back_and_changes_nothing(api: Api) -> None:
    path = path_of(api)
    assert api.http.put(path, json=FULL, headers={"If-Match": "*"}).is_success
    read = api.http.get(path)
    written = api.http.put(path, json=read.json(), headers={"If-Match": etag(read)})
    assert written.status_code == 200, written.text
    assert (written.json(), etag(written)) == (read.json(), etag(read))


def test_what_was_read_can_be_written_to_another_service(api: Api) -> None:
    tenant = api.new_tenant()
    source = api.put_policy(tenant, FULL).json()
    copied = api.put_policy(tenant, source, "billing")
    assert copied.status_code == 201, copied.text
    assert copied.json()["service"] == "billing"
    assert [_editable(entry) for entry in copied.json()["allow_origins"]] == [
        _editable(entry) for entry in source["allow_origins"]
    ]


def test_the_settings_and_entries_of_a_policy_that_was_read_can_be_written_back(api: Api) -> None:
    path = path_of(api)
    first = api.http.put(path, json=FULL, headers={"If-Match": "*"})
    body = {name: first.json()[name] for name in FULL}
    again = api.http.put(path, json=body, headers={"If-Match": etag(first)})
    assert (again.json(), etag(again)) == (first.json(), etag(first))


def test_entries_that_stay_keep_id_author_and_time_and_others_are_new(api: Api) -> None:
    tenant = api.new_tenant()
    first = api.put_policy(tenant, FULL).json()["allow_origins"]
    patterns = ["https://new.example.com", "https://*.b.example.com", "https://a.example.com"]
    after = api.put_policy(tenant, {"allow_origins": patterns}).json()["allow_origins"]
    assert [entry["pattern"] for entry in after] == patterns
    assert after[1:] == [{**entry, "expires_at": None} for entry in (first[1], first[0])], "a bare one has no expiry"
    assert after[0]["id"] not in {entry["id"] for entry in first}
    api.put_policy(tenant, {"allow_origins": patterns[:1]})
    back = api.put_policy(tenant, {"allow_origins": patterns}).json()["allow_origins"]
    assert back[2]["id"] != first[0]["id"], "what was taken out and comes back is another entry"
    assert (back[1]["note"], back[1]["expires_at"]) == (None, None)


def test_an_entry_given_as_an_object_gets_the_note_and_expiry_of_the_object(api: Api) -> None:
    path = path_of(api)
    first = api.http.put(path, json=FULL, headers={"If-Match": "*"}).json()["allow_origins"][1]
    for fields in ({"note": "other"}, {"expires_at": "2098-01-01T00:00:00Z"}, {}):
        body = {"allow_origins": [{"pattern": first["pattern"], **fields}]}
        entry = api.http.put(path, json=body, headers={"If-Match": "*"}).json()["allow_origins"][0]
        assert _editable(entry) == {"note": None, "expires_at": None, "pattern": first["pattern"], **fields}
        assert (entry["id"], entry["created_at"]) == (first["id"], first["created_at"])


def test_who_and_when_come_from_the_service_not_from_the_body(api: Api) -> None:
    forged = {"pattern": "https://a.example.com", "id": "x", "created_by": "root", "created_at": "1999-01-01T00:00:00Z"}
    entry = api.put_policy(api.new_tenant(), {"allow_origins": [forged]}).json()["allow_origins"][0]
    assert entry["id"] != "x"
    assert entry["created_by"].startswith("key:")
    assert not entry["created_at"].startswith("1999")


def test_every_problem_of_a_policy_is_told_at_once_and_nothing_is_written(api: Api) -> None:
    path = path_of(api)
    before = api.http.put(path, json=FULL, headers={"If-Match": "*"})
    body: dict[str, Any] = {
        "allow_origins": [
            "https://ok.example.com", "https://a.com/", "http://b.com", "*", 5, "null", "https://résumé.example",
            {"pattern": "https://c.com", "note": 1, "expires_at": "soon", "x/~": 0}, "https://*.co.uk", "https://xn--a",
        ],
        "allow_credentials": True,
        "allow_methods": ["PUT", "TRACE", "a/b"],
        "allow_headers": ["Cookie", "", "Access-Control-Allow-Origin"],
        "expose_headers": ["Set-Cookie", "*", "Origin"],
        "max_age": True,
        "dangerously_allow_insecure_origins": 0,
        "\ud800": None,
    }  # fmt: skip
    answer = api.http.put(path, content=raw(body), headers={"If-Match": "*"})
    assert sorted(errors(answer)) == [
        ("expires_at_invalid", "/allow_origins/7/expires_at"),
        ("expose_any_with_credentials", "/expose_headers/1"),
        ("header_forbidden", "/allow_headers/0"),
        ("header_forbidden", "/expose_headers/0"),
        ("header_not_a_token", "/allow_headers/1"),
        ("max_age_not_an_integer", "/max_age"),
        ("method_forbidden", "/allow_methods/1"),
        ("method_not_a_token", "/allow_methods/2"),
        ("not_a_boolean", "/dangerously_allow_insecure_origins"),
        ("note_invalid", "/allow_origins/7/note"),
        ("origin_a_label_invalid", "/allow_origins/9"),
        ("origin_any_with_credentials", "/allow_origins/3"),
        ("origin_host_unicode", "/allow_origins/6"),
        ("origin_insecure", "/allow_origins/2"),
        ("origin_not_a_string", "/allow_origins/4"),
        ("origin_null", "/allow_origins/5"),
        ("origin_path", "/allow_origins/1"),
        ("origin_public_suffix", "/allow_origins/8"),
        ("unknown_field", "/allow_origins/7/x~1~0"),
        ("unknown_field", "/\ud800"),
    ]
    suggestions = {item["pointer"]: item.get("suggestion") for item in answer.json()["errors"]}
    assert suggestions["/allow_origins/1"] == "https://a.com"
    assert suggestions["/allow_origins/6"] == "https://xn--rsum-bpad.example"
    after = api.http.get(path)
    assert (after.json(), etag(after)) == (before.json(), etag(before))


def test_warnings_come_with_the_answer_and_the_policy_is_written(api: Api) -> None:
    body: dict[str, Any] = {
        "allow_origins": ["https://*.example.com", "https://a.example.com", "https://*.com"],
        "allow_methods": ["patch"],
        "allow_headers": ["*"],
        "max_age": 86400,
    }
    answer = api.put_policy(api.new_tenant(), body)
    assert answer.status_code == 200
    assert sorted((item["code"], item["pointer"]) for item in answer.json()["warnings"]) == [
        ("headers_any_without_authorization", "/allow_headers/0"),
        ("max_age_long", "/max_age"),
        ("method_case", "/allow_methods/0"),
        ("origin_covered", "/allow_origins/0"),
        ("origin_covered", "/allow_origins/1"),
        ("origin_public_suffix", "/allow_origins/2"),
    ]


def _editable(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("pattern", "note", "expires_at")}
