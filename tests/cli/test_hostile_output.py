"""What the command line prints of texts that somebody else wrote: nothing that a terminal obeys, no line of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.helpers import Cli, write
from tests.client.uvicorns import serving
from tests.scripted import Answer, Scripted

# An escape sequence, a C1 one, bidi characters, an invisible one, one beyond 16 bits, line breaks of four kinds.
FORGED = "FORGED"
HOSTILE = f"ü\x1b[31m\x9b31m\u202e\u2066\u200b\U000e0041\x7f\n{FORGED}\r{FORGED}\u2028{FORGED}\x85{FORGED}"
KNOWN = {"acme", "default"}

# What the command line reads as a policy, too.
VALID = {"allow_origins": [{"pattern": "https://a.example.com", "note": HOSTILE}], "max_age": 600}
POLICY = {
    "service": HOSTILE, "allow_origins": [{"pattern": HOSTILE, "note": HOSTILE, "expires_at": HOSTILE, "id": HOSTILE}],
    "allow_credentials": False, "allow_methods": [HOSTILE], "allow_headers": [HOSTILE], "expose_headers": [HOSTILE],
    "max_age": 600, "revision": 1,
}  # fmt: skip
TENANT = {
    "tenant": HOSTILE, "name": HOSTILE, "services": [HOSTILE], "revision": 1, "created_at": HOSTILE,
    "policies": {"default": VALID},
}  # fmt: skip
ORIGIN = {
    "id": HOSTILE, "pattern": HOSTILE, "note": HOSTILE, "expires_at": HOSTILE, "created_by": HOSTILE, "revision": 1,
    "warnings": [{"detail": HOSTILE, "pointer": HOSTILE}],
}  # fmt: skip
PROPAGATION = {
    "preflights_cached_until": {HOSTILE: HOSTILE}, "complete": False, "published": True, "all_known": False,
    "not_reporting": 1, "applied": {"count": 0, "on_demand": 0},
    "pending": {"count": 1, "processes": [{"process": 1, "host": HOSTILE, "services": [HOSTILE], "why": HOSTILE}]},
    "rejected": {"count": 0, "processes": []},
}  # fmt: skip
CHANGE = {
    "revision": 1, "changed_at": HOSTILE, "tenant": HOSTILE, "action": HOSTILE, "actor": HOSTILE, "subject": HOSTILE,
    "reason": HOSTILE, "difference": [{"words": HOSTILE}], "omitted": 0, "restorable": True, "compacted": False,
}  # fmt: skip
DECISION = {
    "allowed": False, "reason": HOSTILE, "message": HOSTILE, "near_misses": [{}, {"message": HOSTILE}],
    "decided_on": {
        "read_from": HOSTILE, "method": HOSTILE, "origin": HOSTILE, "requested_method": HOSTILE,
        "requested_headers": HOSTILE,
    },
    "policy": {"service": HOSTILE, "tenant": HOSTILE}, "pattern": HOSTILE, "status": None,
    "headers": [[HOSTILE, HOSTILE]],
}  # fmt: skip
PROCESS = {
    "services": [HOSTILE], "host": HOSTILE, "process": 1, "version": HOSTILE, "state": HOSTILE, "lag": HOSTILE,
    "revision": 1, "tenants": 1, "rejections": {HOSTILE: HOSTILE}, "key_ids": [HOSTILE],
}  # fmt: skip
KEY = {
    "id": HOSTILE, "role": HOSTILE, "tenants": [HOSTILE], "state": HOSTILE, "expires_at": HOSTILE,
    "last_used_at": HOSTILE, "created_by": HOSTILE, "description": HOSTILE, "key": HOSTILE,
}  # fmt: skip
PROBLEM = {
    "type": f"urn:corspolicy:problem:{HOSTILE}", "status": 400, "title": HOSTILE, "detail": HOSTILE,
    "errors": [{"pointer": HOSTILE, "detail": HOSTILE, "suggestion": HOSTILE}],
}  # fmt: skip
RESTORED = {
    "difference": [{"words": HOSTILE}], "omitted": 0, "problems": [{"detail": HOSTILE, "suggestion": HOSTILE}],
    "revision": 1, "propagation": PROPAGATION,
}  # fmt: skip


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, [("content-type", "application/json")], json.dumps(value).encode())


def _list(item: Any) -> Answer:
    return _json({"items": [item], "next_cursor": None})


ACME = "/v1/tenants/acme"
ANSWERS = {
    ("GET", "/v1/tenants"): _list(TENANT),
    ("POST", "/v1/tenants"): _json(TENANT),
    ("GET", ACME): _json(TENANT),
    ("GET", f"{ACME}/policies"): _list(POLICY),
    ("GET", f"{ACME}/policies/default"): _json(VALID),
    ("PUT", f"{ACME}/policies/default"): _json(PROBLEM, 400),
    ("GET", f"{ACME}/policies/default/origins"): _list(ORIGIN),
    ("POST", f"{ACME}/policies/default/origins"): _json({**ORIGIN, "propagation": PROPAGATION}),
    ("GET", f"{ACME}/changes"): _list(CHANGE),
    ("GET", "/v1/changes"): _list(CHANGE),
    ("GET", f"{ACME}/changes/1"): _json(CHANGE),
    ("POST", f"{ACME}/restore"): _json(RESTORED),
    ("POST", "/v1/decisions"): _json(DECISION),
    ("GET", "/v1/fleet"): _json({"processes": [PROCESS], "all_known": False, "not_reporting": 1}),
    ("GET", "/v1/keys"): _list(KEY),
    ("POST", "/v1/keys"): _json(KEY),
    ("DELETE", "/v1/keys/1"): _json(PROBLEM, 400),
    # That is not the admin API; a header may have what is not ASCII.
    ("DELETE", "/v1/keys/2"): Answer(302, [("location", "/\x9b31m\x85"), ("content-type", "text/\x9b31m")]),
    ("GET", "/probed"): Answer(200, [("vary", "\x9b31m\x85"), ("access-control-allow-origin", "\x9b31m")]),
}

COMMANDS = [
    "tenants list", "tenants show acme", "tenants create acme", "tenants delete acme", "policies list acme",
    "policies show acme", "policies put acme -f -", "origins list acme", "origins add acme x --wait 1",
    "history", "history acme", "history acme 1", "restore acme 1 --wait 1",
    "explain acme https://a.example.com", "fleet", "keys list", "keys create", "keys revoke 1", "keys revoke 2",
]  # fmt: skip
WITH_JSON = [
    "tenants list", "tenants show acme", "policies list acme", "policies show acme", "origins list acme",
    "history", "history acme 1", "explain acme https://a.example.com", "fleet", "keys list",
]  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Scripted(ANSWERS), lifespan="off") as port:
        yield port


@pytest.fixture
def foreign(port: int) -> Cli:
    """The command line, with a service that answers like that."""
    return Cli(f"http://me:s3cret@127.0.0.1:{port}", "cpk_x")


def _require_plain(result: Result, *, is_own: bool = False) -> None:
    output = result.output
    assert all(character == "\n" or character.isprintable() for character in output), repr(output)
    # Their own line breaks, users may have.
    assert is_own or not any(line.strip().startswith(FORGED) for line in output.split("\n")), output
    assert "s3cret" not in output


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_service_says_is_printed_plain(foreign: Cli, command: str) -> None:
    result = foreign(*command.split(), stdin="y\n" if "put" not in command else "allow_origins: []\n")
    _require_plain(result)
    assert FORGED in result.output or command == "keys revoke 2", result.output


@pytest.mark.parametrize("command", WITH_JSON)
def test_json_is_escaped_and_still_json(foreign: Cli, command: str) -> None:
    result = foreign(*command.split(), "--output", "json")
    _require_plain(result)
    assert "ü" in result.output
    assert json.dumps(HOSTILE) in json.dumps(json.loads(result.output))


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_file_of_somebody_elses_is_compared_in_plain(foreign: Cli, folder: Path, output: str) -> None:
    # YAML has no escapes for halves of characters.
    note = json.dumps(HOSTILE.replace("\U000e0041", ""))
    origin = f'{{"pattern": "https://a.example.com", "note": {note}}}'
    write(folder, "acme", f"name: acme\npolicies:\n  default:\n    allow_origins:\n    - {origin}\n")
    result = foreign("diff", "-f", folder, "--output", output)
    _require_plain(result)
    assert (result.exit_code, FORGED in result.output) == (2, True), result.output
    write(folder, "acme", f"{note}: 1\npolicies: {note}\n")
    result = foreign("diff", "-f", folder)
    _require_plain(result)
    assert (result.exit_code, FORGED in result.output) == (1, True), result.output


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_headers_of_a_foreign_server_are_printed_plain(foreign: Cli, port: int, output: str) -> None:
    probed = f"http://127.0.0.1:{port}/probed"
    result = foreign("probe", probed, "--origin", "https://a.example.com", "--output", output)
    _require_plain(result)
    assert r"\x9b31m" in result.output, result.output


def test_what_a_user_passes_is_printed_plain(foreign: Cli) -> None:
    for name in (HOSTILE, f"no{HOSTILE}"):
        _require_plain(foreign("origins", "remove", "acme", name), is_own=True)
    for command in (
        ["no" + HOSTILE],
        ["history", "--since", HOSTILE],
        ["--no" + HOSTILE],
        ["restore", "acme", HOSTILE],
    ):
        result = foreign(*command)
        _require_plain(result, is_own=True)
        assert result.exit_code == 1
