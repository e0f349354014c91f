"""Tenant files: what is valid, what is rejected and in which line, and that what is written reads the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corspolicy.core.validation import check
from policy_service.cli.gitops import files
from policy_service.cli.gitops.files import Invalid, Tenant, TenantFile
from tests.core.test_origin_properties import patterns

TRAPS = [
    "no",
    "on",
    "y",
    "null",
    "true",
    "~",
    "1",
    "0x1F",
    "1e3",
    "12:30",
    "2030-01-31",
    "<<",
    "=",
    "a: b",
    "- x",
    "#",
    "❤\u2028",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(TRAPS)
NAMES = TEXTS.filter(str.isprintable)
SERVICES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    ["default", "no", "on", "1e3"]
)


def _pattern(entry: str | dict[str, Any]) -> str:
    return entry if isinstance(entry, str) else entry["pattern"]


ENTRIES = st.builds(
    lambda pattern, note, expires_at: {"pattern": pattern, "note": note, "expires_at": expires_at},
    patterns(),
    st.none() | TEXTS,
    st.sampled_from([None, "2099-01-31T12:00:00Z", "2099-01-31T12:00:00.123456+01:00"]),
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "allow_origins": st.lists(ENTRIES | patterns(), max_size=5, unique_by=_pattern),
        "allow_methods": st.lists(st.sampled_from(["PUT", "no", "DELETE", "*"]), max_size=3),
        "allow_headers": st.lists(st.sampled_from(["x-token", "on", "*"]), max_size=3),
        "max_age": st.none() | st.integers(0, 86400),
    },
)  # fmt: skip


def _read(path: Path, text: str | bytes) -> TenantFile | Invalid:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return files.read(path)


def _defects(path: Path, text: str | bytes) -> list[tuple[int, str, str | None]]:
    read = _read(path, text)
    assert isinstance(read, Invalid), read
    return [(defect.line, defect.message, defect.suggestion) for defect in read.defects]


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    return tmp_path / "acme.yaml"


@given(NAMES, st.dictionaries(SERVICES, POLICIES.filter(lambda values: check(values).policy is not None), max_size=3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@example("", {"default": {"allow_origins": [{"pattern": "https://a.example.com", "note": "\x85"}]}})
@example("", {"default": {"allow_origins": [{"pattern": "https://a.example.com", "note": " a\x85\n\u2028 \ufeffb "}]}})
def test_what_is_written_reads_the_same_and_is_written_the_same(
    acme: Path, name: str, policies: dict[str, dict[str, Any]]
) -> None:
    tenant = Tenant(name, {service: files.stored(values) for service, values in policies.items()})
    text = files.written("acme", tenant)
    read = _read(acme, text)
    assert isinstance(read, TenantFile), (read, text)
    assert read.tenant == tenant
    assert files.written("acme", read.tenant) == text


def test_a_file_omits_defaults() -> None:
    policy = {
        "allow_origins": [
            {"pattern": "https://b.example.com", "note": None, "expires_at": None, "id": "1"},
            {"pattern": "https://c.example.com", "note": "until May", "expires_at": "2099-01-31T12:00:00+00:00"},
            {"pattern": "https://a.example.com", "note": None, "expires_at": "2001-01-31T12:00:00Z"},
            "https://a.b.example.com",
        ],
        "allow_credentials": False,
        "allow_methods": ["put", "DELETE"],
        "max_age": None,
    }
    tenant = Tenant("Acme", {"default": files.stored(policy), "billing": files.stored({})})
    assert files.written("acme", tenant) == (
        "tenant: acme\n"
        "name: Acme\n"
        "policies:\n"
        "  default:\n"
        "    allow_origins:\n"
        "      - https://a.b.example.com\n"
        "      - https://b.example.com\n"
        "      - pattern: https://c.example.com\n"
        "        expires_at: '2099-01-31T12:00:00Z'\n"
        "        note: until May\n"
        "    allow_methods:\n"
        "      - DELETE\n"
        "      - PUT\n"
        "  billing: {}\n"
    )


def test_all_defects_are_reported_at_once_with_their_lines(acme: Path) -> None:
    text = """\
tenant: globex
nmae: Acme
policies:
  default:
    allow_origins:
      - https://app.example.com
      - https://résumé.example
      - pattern: https://example.com/
        expires_at: tomorrow
    allow_credentials: yes
    allow_methods: PUT
    max_agee: 5
  Billing: {}
"""
    found = _defects(acme, text)
    assert [(line, suggestion) for line, _, suggestion in found] == [
        (1, "globex.yaml"),
        (2, None),
        (7, "https://xn--rsum-bpad.example"),
        (8, "https://example.com"),
        (9, None),
        (10, None),
        (11, '["PUT"]'),
        (12, None),
        (13, None),
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("tenant: acme\npolicies: {}\ntenant: acme\n", 3, "Duplicate key tenant, first in line 1"),
        ("tenant: acme\npolicies:\n  a: {}\n  b: {}\n  a: {max_age: 5}\n", 5, "Duplicate key a, first in line 3"),
        ("tenant: acme\npolicies:\n  a:\n    max_age: 1\n    max_age: 2\n", 5, "Duplicate key max_age"),
        ("tenant: no\npolicies: {}\n", 1, "Some YAML readers read no as false"),
        ("tenant: acme\npolicies:\n  on: {}\n", 3, "Some YAML readers read on as true"),
        ("tenant: acme\npolicies:\n  a: {allow_credentials: Yes}\n", 3, "write true, or quote it"),
        ("tenant: acme\npolicies:\n  a: &x {}\n  b: *x\n", 3, "Anchors are not supported"),
        ("tenant: acme\npolicies:\n  a: &x {}\n  b: *x\n", 4, "Aliases are not supported"),
        ("tenant: acme\npolicies: !!map {}\n", 2, "Tags such as tag:yaml.org,2002:map"),
        ("tenant: acme\npolicies: {}\n---\ntenant: b\n", 3, "A second document"),
        ("tenant: acme\npolicies:\n  a: {max_age: 0600}\n", 3, "whole number"),
        ("tenant: acme\npolicies:\n  a: {max_age: 10:00}\n", 3, "whole number"),
        ("tenant: acme\npolicies:\n  ? {a: 1}\n  : {}\n", 3, "A key must be a string."),
        ("tenant: acme\npolicies:\n\t- x\n", 3, "Not valid YAML"),
        ("tenant: acme\npolicies: {\n", 3, "Not valid YAML"),
        ("tenant: acme\n", 1, "policies must map each service"),
        ("policies: {}\n", 1, "tenant must be 1 to 63"),
        ("", 1, "must have the keys tenant, name and policies"),
        ("- tenant\n", 1, "must have the keys tenant, name and policies"),
        ("tenant: acme\nname: 5\npolicies: {}\n", 2, "quote it if it is a number"),
        ("tenant: acme\npolicies: " + "[" * 100_000, 2, "Nested deeper than 20 levels"),
        (b"tenant: acme\nname: \xff\n", 2, "Not valid UTF-8"),
        (b"tenant: acme\nname: \x00\n", 1, "Not valid YAML"),
    ],
)
def test_an_invalid_file(acme: Path, text: str | bytes, line: int, said: str) -> None:
    assert any(found_line == line and said in message for found_line, message, _ in _defects(acme, text))


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{allow_credentials: true, allow_origins: [https://a.example.com]}", {"allow_credentials": True}),
        ("{allow_credentials: True, allow_origins: ['https://a.example.com']}", {"allow_credentials": True}),
        ('{"max_age": 5, "allow_origins": ["https://a.example.com"]}', {"max_age": 5}),
        ("{allow_methods: ['no'], allow_origins: [{pattern: https://a.example.com}]}", {"allow_methods": ["no"]}),
    ],
)
def test_a_valid_file(acme: Path, text: str, policy: dict[str, Any]) -> None:
    read = _read(acme, f"\ufefftenant: acme # a comment\npolicies:\n  default: {text}\n  billing:\n")
    assert isinstance(read, TenantFile), read
    default = {"allow_origins": ["https://a.example.com"], **policy}
    assert read.tenant == Tenant("", {"default": default, "billing": {}})


def test_expired_entries_are_left_out_with_a_warning(acme: Path) -> None:
    text = "{pattern: https://a.example.com, expires_at: 2001-01-31T12:00:00Z}"
    read = _read(acme, f"tenant: acme\npolicies:\n  default:\n    allow_origins:\n      - {text}\n")
    assert isinstance(read, TenantFile)
    assert read.tenant.policies == {"default": {}}
    assert [(warning.line, "remove it" in warning.message) for warning in read.warnings] == [(5, True)]


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    missing = files.read(tmp_path / "acme.yaml")
    assert isinstance(missing, Invalid)
    assert "Can't read this file: " in missing.defects[0].message


def test_two_thousand_files_are_read_in_seconds(tmp_path: Path) -> None:
    for index in range(2000):
        path = tmp_path / f"t{index}.yaml"
        path.write_text(f"tenant: t{index}\npolicies: {{default: {{allow_origins: [https://a{index}.example.com]}}}}\n")
    began = time.process_time()
    assert all(isinstance(files.read(path), TenantFile) for path in files.paths(tmp_path))
    assert time.process_time() - began < 10
