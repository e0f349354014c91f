"""What a policy may hold: the vectors, and properties for any values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corspolicy.core.document import Document, UnreadableDocument
from corspolicy.core.policy import SETTINGS
from corspolicy.core.validation import MAX_REPORTED, Finding, check
from policy_service.documents.domains import is_public_suffix, to_ascii
from tests import vectors
from tests.vectors import Vector

CASES = vectors.load("validation")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def _expected(finding: Finding, case_item: dict[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {"code": finding.code, "pointer": finding.pointer}
    return found | ({"suggestion": finding.suggestion} if "suggestion" in case_item else {})


@pytest.mark.parametrize("case", CASES, ids=vectors.name_of)
def test_policy(case: Vector) -> None:
    checked = check(case["policy"], to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    for found, expected in ((checked.errors, case["problems"]), (checked.warnings, case.get("warnings", []))):
        assert [(finding.code, finding.pointer) for finding in found] == [
            (item["code"], item["pointer"]) for item in expected
        ]
        assert [_expected(*pair) for pair in zip(found, expected, strict=True)] == expected
    assert (checked.policy is None) == bool(case["problems"])
    if checked.policy is not None:
        stored = checked.policy.to_json()
        assert {name: stored.get(name) for name in case.get("stored", {})} == case.get("stored", {})


@given(st.dictionaries(st.sampled_from(list(SETTINGS)) | st.text(max_size=5), JSON) | JSON)
def test_any_values_are_judged_without_an_error(values: object) -> None:
    checked = check(values, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    assert (checked.policy is None) == bool(checked.errors)
    if checked.policy is not None:
        assert check(checked.policy.to_json()).policy == checked.policy
        document = Document("acme", 7, {"default": checked.policy})
        assert Document.from_bytes(document.to_bytes()) == document


MEANT = st.sampled_from(
    [
        "https://shop.example", "http://localhost:3000", "localhost:3000", "127.0.0.1:4200", "*.shop.example", "*", "app://.",
        "http://shop.example/", "https://Shop.example:443", "https://résumé.example", "http://*.shop.example:[80,9000]",
        "moz-extension://*", "https://x-*.netlify.app", "[::ffff:7f00:1]", "PUT", "Content-Type", "Set-Cookie", "null",
    ]
)  # fmt: skip
PASTED = st.builds(
    lambda parts, between, quote: between.join(f"{quote}{part}{quote}" for part in parts),
    st.lists(MEANT, min_size=1, max_size=4),
    st.sampled_from([" ", ",", ", ", "\n", "; ", ""]),
    st.sampled_from(["", '"', "'"]),
)
VALUES = PASTED | st.text(max_size=20) | st.sampled_from(["yes", "No", "1", "600", "-1"]) | st.integers() | st.floats()


@given(st.sampled_from(sorted(SETTINGS)), VALUES, st.booleans(), st.booleans())
def test_every_suggestion_is_accepted_when_it_is_pasted_back(
    name: str, value: object, is_entry: bool, credentials: bool
) -> None:
    rest = {} if name == "allow_credentials" else {"allow_credentials": credentials}
    checked = check(
        {**rest, name: [value] if is_entry else value}, to_ascii=to_ascii, is_public_suffix=is_public_suffix
    )
    for error in checked.errors:
        if error.suggestion is not None:
            fixed = [error.suggestion] if error.pointer == f"/{name}/0" else json.loads(error.suggestion)
            again = check({**rest, name: fixed}, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
            assert not again.errors, error


@given(st.binary(max_size=60) | JSON.map(lambda value: str(value).encode("utf-8", "replace")))
def test_any_bytes_are_a_document_or_an_unreadable_one(data: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        Document.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"format":2,"tenant":"acme","revision":1,"policies":{}}',
        b'{"format":1,"tenant":"acme","revision":true,"policies":{}}',
        b'{"format":1,"tenant":"acme","revision":1,"policies":{"default":{"allow_origins":["null"]}}}',
        b'{"format":1,"tenant":"acme","revision":1,"policies":{"default":{"allow_origins":["https://a.com"],"x":1}}}',
        b"[" * 100_000,
    ],
    ids=["another format", "revision of the wrong type", "invalid origin", "unknown setting", "deep nesting"],
)
def test_a_document_is_read_whole_or_not_at_all(data: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        Document.from_bytes(data)


def test_problems_and_warnings_are_bounded() -> None:
    checked = check({"allow_methods": [1] * 100_000})
    assert checked.policy is None
    assert len(checked.errors) == MAX_REPORTED + 1
    assert checked.errors[-1].code == "too_many_errors"
    covered = check({"allow_origins": ["https://*.b.com", *(f"https://a{index}.b.com" for index in range(500))]})
    assert covered.policy is not None
    assert len(covered.warnings) == MAX_REPORTED


def test_a_suggestion_for_a_bare_text_leaves_nothing_out() -> None:
    for count, is_suggested in ((1, True), (50, True), (101, False)):
        origins = [f"https://a{index}.example.com" for index in range(count)]
        (error,) = check({"allow_origins": ",".join(origins)}).errors
        assert error.suggestion == (json.dumps(origins) if is_suggested else None)
    names = [f"x-{index}" for index in range(50)]
    (error,) = check({"allow_headers": " ".join(names)}).errors
    assert error.suggestion == json.dumps(names)


def test_a_text_of_many_origins_is_suggested_in_part() -> None:
    origins = [f"https://a{index}.example.com" for index in range(50)]
    errors = check({"allow_origins": [" ".join(origins)]}).errors
    assert [error.suggestion for error in errors] == origins[:10]
    (error,) = check({"allow_headers": [" ".join(f"x-{index}" for index in range(50))]}).errors
    assert (error.code, error.suggestion) == ("header_not_a_token", None)


def test_the_same_pattern_with_two_times_of_expiry_is_rejected() -> None:
    origins = ["https://a.com", {"pattern": "https://a.com", "expires_at": "2030-01-01T00:00:00Z"}]
    assert [finding.code for finding in check({"allow_origins": origins}).errors] == ["origin_duplicate"]


@pytest.mark.parametrize("parent", ["com", "github.io", "amazonaws.com", "windows.net", "unknown-tld"])
def test_a_wildcard_over_names_of_strangers_is_rejected_with_credentials(parent: str) -> None:
    values = {"allow_origins": [f"https://*.{parent}"], "allow_credentials": True}
    checked = check(values, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    assert [finding.code for finding in checked.errors] == ["origin_public_suffix"]


@pytest.mark.parametrize("part", ["a, ", "[1,", "a:[1,", "<a ", "%a", "a:"])
def test_a_long_text_takes_no_longer_than_its_length(part: str) -> None:
    # Read from each of its characters to its end, as a search for a list of ports once did, it would take hours.
    text = part * (1_000_000 // len(part))
    (error,) = check({"allow_origins": [text]}, to_ascii=to_ascii).errors
    assert error.code == "origin_host_too_long"
    assert check({"allow_origins": [text[:4000]] * MAX_REPORTED}, to_ascii=to_ascii).policy is None
