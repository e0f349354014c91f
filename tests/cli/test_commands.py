"""The commands for tenants, policies, origins, keys, history and the fleet, against a real service."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cli.helpers import COMMAND, Cli
from tests.keys import PROCESS_PREFIX
from tests.support import ROOT, Api, Process, running, wait_until

ORIGIN = "https://a.example.com"


@pytest.fixture
def tenant(shared_api: Api) -> str:
    return shared_api.new_tenant("c")


def test_tenants_are_created_listed_shown_and_deleted(cli: Cli) -> None:
    slug = f"c-{secrets.token_hex(5)}"
    assert f"{slug} created, revision " in cli.ok("tenants", "create", slug, "--name", "Ünï ❤")
    shown = cli.json("tenants", "show", slug)
    assert (shown["tenant"], shown["name"], list(shown["policies"])) == (slug, "Ünï ❤", ["default"])
    assert cli.ok("tenants", "show", slug).startswith(f"{slug}  Ünï ❤\nrevision {shown['revision']}, ")
    assert slug in [item["tenant"] for item in cli.json("tenants", "list")]
    heading, *rows = cli.ok("tenants", "list").splitlines()
    assert heading.split() == ["TENANT", "NAME", "SERVICES", "REVISION", "CREATED", "AT"]
    assert any(row.startswith(f"{slug} ") and "Ünï ❤" in row for row in rows)
    declined = cli("tenants", "delete", slug, stdin="n\n")
    assert (declined.exit_code, f"Delete {slug} and its policies (default)?" in declined.output) == (1, True)
    assert cli.ok("tenants", "delete", slug, "--yes") == f"{slug} deleted.\n"
    assert (
        cli("tenants", "show", slug).stderr
        == f"Error: Not Found: Tenant '{slug}' not found, or not visible to this key.\n"
    )


def test_a_policy_is_written_and_read_back_the_same(cli: Cli, tenant: str, tmp_path: Path) -> None:
    file = tmp_path / "billing.yaml"
    file.write_text("allow_origins:\n  - pattern: https://a.example.com\n    note: why\nmax_age: 600\n")
    assert f"Policy billing of {tenant} saved, revision " in cli.ok("policies", "put", tenant, "billing", "-f", file)
    shown = cli.ok("policies", "show", tenant, "billing")
    assert shown == file.read_text()
    as_json = json.dumps(cli.json("policies", "show", tenant, "billing"))
    revision = json.loads(as_json)["revision"]
    for again in (shown, as_json):
        cli.ok("policies", "put", tenant, "billing", "-f", "-", stdin=again)
    assert cli.json("policies", "show", tenant, "billing")["revision"] == revision
    assert [policy["service"] for policy in cli.json("policies", "list", tenant)] == ["billing", "default"]
    assert cli.ok("policies", "list", tenant).splitlines()[1].split() == ["billing", "1", "no", "-", "-", "600"]
    assert cli("policies", "delete", tenant, "billing", "--yes").exit_code == 1
    cli.ok("policies", "delete", tenant, "billing", "--yes", "--confirm")
    assert [policy["service"] for policy in cli.json("policies", "list", tenant)] == ["default"]


def test_an_invalid_policy_is_rejected_with_its_lines(cli: Cli, tenant: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("allow_origins:\n  - https://a.example.com\n  - https://b.example.com/\n\nmax_age: -1\n")
    assert cli("policies", "put", tenant, "-f", file).stderr.splitlines() == [
        f"Error: {file} is not a valid policy; nothing was changed.",
        f"  {file}:3: An origin has no path or trailing slash: it is scheme, host and port only.",
        "    try: https://b.example.com",
        f"  {file}:5: max_age must be 0 to 86400 seconds.",
        "    try: 0",
    ]
    file.write_text("max_age: 1\nmax_age: 2\n")
    assert f"  {file}:2: Duplicate key max_age" in cli("policies", "put", tenant, "-f", file).stderr
    file.write_text("max_age: 86400\n")
    assert f"{file}:1: note: Preflights of a removed origin" in cli("policies", "put", tenant, "-f", file).stderr


def test_origins_are_added_listed_and_removed_by_pattern_or_id(cli: Cli, tenant: str) -> None:
    cli.ok("origins", "add", tenant, ORIGIN, "https://*.b.example.com", "--note", "\x1b[31mred", "--reason", "why")
    cli.ok("origins", "add", tenant, "https://preview.example.com", "--expires", "3d")
    listed = {item["pattern"]: item for item in cli.json("origins", "list", tenant)}
    end = datetime.fromisoformat(listed["https://preview.example.com"]["expires_at"])
    assert timedelta(days=2, hours=23) < end - datetime.now(UTC) <= timedelta(days=3)
    cli.ok("origins", "add", tenant, "https://past.example.com", "--expires", "2001-01-31T12:00:00Z")
    (past,) = [line for line in cli.ok("origins", "list", tenant).splitlines() if line.startswith("https://past.")]
    assert "2001-01-31T12:00:00Z (expired)" in past
    cli.ok("origins", "remove", tenant, "https://past.example.com")
    table = cli.ok("origins", "list", tenant)
    assert "\\x1b[31mred" in table
    assert "\x1b" not in table
    missing = cli("origins", "remove", tenant, ORIGIN, "https://nope.example.com")
    assert missing.exit_code == 1
    assert f"Nothing was changed: {tenant} (default) has no origin https://nope.example.com." in missing.stderr
    assert len(cli.json("origins", "list", tenant)) == 3
    cli.ok("origins", "remove", tenant, listed[ORIGIN]["id"])
    assert f"{ORIGIN} allowed by {tenant} (default), revision " in cli.ok("origins", "add", tenant, ORIGIN)
    cli.ok("origins", "remove", tenant, ORIGIN)
    assert [item["pattern"] for item in cli.json("origins", "list", tenant)] == [
        "https://*.b.example.com",
        "https://preview.example.com",
    ]


@pytest.mark.parametrize("expires", ["3", "3y", "0d", "tomorrow", "2099-01-31T12:00:00"])
def test_an_invalid_time_is_rejected(cli: Cli, tenant: str, expires: str) -> None:
    rejected = cli("origins", "add", tenant, ORIGIN, "--expires", expires)
    assert rejected.exit_code == 1
    assert "neither a period such as 90m, 12h, 3d or 2w nor a time such as" in rejected.stderr


def test_history_shows_who_why_and_what_and_restore_undoes_it(cli: Cli, tenant: str) -> None:
    cli.ok("origins", "add", tenant, ORIGIN, "--reason", "ticket 5 ❤")
    good = cli.json("tenants", "show", tenant)["revision"]
    cli.ok("origins", "remove", tenant, ORIGIN, "--confirm")
    newest, added, created = cli.ok("history", tenant).split("\n\n")
    assert newest.splitlines()[1:] == [f"    {ORIGIN} no longer allowed"]
    assert added.splitlines()[1:] == ["    why: ticket 5 ❤", f"    {ORIGIN} allowed"]
    assert created.splitlines()[0].split()[2:4] == [tenant, "tenant.create"]
    assert [change["action"] for change in cli.json("history", tenant, "--limit", "2")] == [
        "origin.remove",
        "origin.add",
    ]
    assert cli.json("history", tenant, str(good))["after"]["policies"]["default"]["allow_origins"] != []
    declined = cli("restore", tenant, str(good), stdin="n\n")
    assert f"    {ORIGIN} allowed\nRestore {tenant} to revision {good}? [y/N]" in declined.output
    assert cli.json("origins", "list", tenant) == []
    cli.ok("restore", tenant, str(good), "--yes", "--reason", "it was needed")
    assert [item["pattern"] for item in cli.json("origins", "list", tenant)] == [ORIGIN]
    assert f"{tenant} already matches revision {good}: nothing to restore." in cli.ok(
        "restore", tenant, str(good), "--yes"
    )
    assert cli.json("history", tenant)[0]["reason"] == "it was needed"


def test_history_goes_across_tenants_and_takes_filters(cli: Cli, tenant: str, shared_api: Api) -> None:
    other, subject = shared_api.new_tenant(), f"{tenant}@example.com"
    for slug in (tenant, other):
        path = f"/v1/tenants/{slug}/policies/default/origins"
        answer = shared_api.http.post(path, json={"pattern": ORIGIN}, headers={"Corspolicy-Subject": subject})
        assert answer.status_code == 201

    def tenants(*arguments: str) -> list[str]:
        return [change["tenant"] for change in cli.json("history", *arguments, "--actor", subject)]

    assert tenants() == tenants("--action", "origin.add", "--since", "1h") == [other, tenant]
    assert tenants(tenant) == [tenant]
    assert tenants("--until", "1h") == tenants("--action", "tenant.put") == []
    assert tenants("--since", "2026-01-01 00:00+02:00", "--limit", "1") == [other]
    assert {change["tenant"] for change in cli.json("history")} >= {tenant, other}
    assert cli.ok("history", tenant, "--until", "1h") == "No changes found.\n"
    unknown = cli("history", "no-such-tenant")
    assert unknown.exit_code == 1
    assert "Tenant 'no-such-tenant' not found" in unknown.output


def test_a_large_change_is_shortened_in_a_list_and_shown_in_full_by_its_revision(cli: Cli, shared_api: Api) -> None:
    tenant = shared_api.new_tenant()
    origins = [f"https://{number}.example.com" for number in range(130)]
    revision = shared_api.put_policy(tenant, {"allow_origins": origins}).json()["revision"]
    listed = cli.ok("history", tenant, "--limit", "1").splitlines()[1:]
    assert listed == [*(f"    {origin} allowed" for origin in origins[:10]), "    and 120 more"]
    whole = cli.ok("history", tenant, str(revision)).splitlines()[1:]
    assert whole == [f"    {origin} allowed" for origin in origins]


def test_a_restore_that_removes_origins_is_confirmed_by_an_answer_or_an_option(cli: Cli, tenant: str) -> None:
    empty = cli.json("tenants", "show", tenant)["revision"]
    cli.ok("origins", "add", tenant, ORIGIN)
    rejected = cli("restore", tenant, str(empty), "--yes")
    assert (rejected.exit_code, "pass --confirm" in rejected.stderr) == (1, True)
    answered = cli("restore", tenant, str(empty), stdin="y\n")
    assert f"would no longer allow its only origin: {ORIGIN}" in answered.output
    assert cli.json("origins", "list", tenant) == []


def test_a_tenant_that_was_deleted_comes_back(cli: Cli, tenant: str) -> None:
    cli.ok("origins", "add", tenant, ORIGIN)
    good = cli.json("tenants", "show", tenant)["revision"]
    cli.ok("tenants", "delete", tenant, "--yes", "--confirm")
    cli.ok("restore", tenant, str(good), "--yes")
    assert [item["pattern"] for item in cli.json("origins", "list", tenant)] == [ORIGIN]


def test_tail_prints_changes_as_they_are_made_until_it_is_interrupted(cli: Cli, tenant: str, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    process = cli.start(printed, "tail", "--tenant", tenant, "--since", "1h", "--output", "json")
    try:
        wait_until(lambda: "tenant.create" in printed.read_text(), "the first change is printed", 60)
        cli.ok("origins", "add", tenant, ORIGIN)
        wait_until(lambda: "origin.add" in printed.read_text(), "the next change is printed")
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
    assert code == 0
    changes = [json.loads(line) for line in printed.read_text().splitlines()]
    assert [change["action"] for change in changes] == ["tenant.create", "origin.add"]


def test_keys_are_made_listed_rotated_and_revoked_through_the_api(cli: Cli, tenant: str) -> None:
    made = ("keys", "create", "--role", "tenant", "--tenant", tenant, "--expires", "2w", "--description", "CI ❤")
    first = cli.ok(*made).strip()
    key_id = first.split("_")[1]
    mine = Cli(cli.url, first)
    assert [item["tenant"] for item in mine.json("tenants", "list")] == [tenant]
    assert "Forbidden" in mine("origins", "add", tenant, ORIGIN).stderr
    second = cli.ok("keys", "rotate", key_id, "--grace", "90m").strip()
    assert Cli(cli.url, second).json("tenants", "list") == mine.json("tenants", "list")
    shown = {item["id"]: item for item in cli.json("keys", "list")}
    assert shown[key_id]["replaced_by"] == second.split("_")[1]
    assert any(row.startswith(f"{key_id}  tenant") and "CI ❤" in row for row in cli.ok("keys", "list").splitlines())
    assert cli.ok("keys", "revoke", key_id) == f"{key_id} revoked.\n"
    assert "rejected the key in CORSPOLICY_API_KEY" in mine("tenants", "list").stderr


def test_the_first_key_is_made_in_the_database_and_any_other_through_the_api(
    cli: Cli, shared_service: Process, shared_api: Api
) -> None:
    environment = shared_service.environment
    code, key, errors = Cli(cli.url, None).run("keys", "create", **environment)
    assert (code, errors) == (0, "")
    own = Cli(cli.url, key.strip())
    code, second, errors = own.run("keys", "create", **environment)
    assert (code, errors) == (0, "")
    makers = {item["id"]: item["created_by"] for item in cli.json("keys", "list")}
    first_id = key.split("_")[1]
    assert makers[first_id] == "corspolicy keys create"
    assert makers[second.split("_")[1]] == f"key:{first_id}"


def test_a_change_can_be_waited_for_until_every_process_applies_it(
    cli: Cli, shared_service: Process, tenant: str
) -> None:
    redis_url = shared_service.environment["CORSPOLICY_REDIS_URL"]
    with running("tests.chain.apps:billing", {"CORSPOLICY_REDIS_URL": redis_url}) as client:
        # It reports before it has policies.
        wait_until(
            lambda: [each["state"] for each in cli.json("fleet")["processes"]] == ["current"], "the process is current"
        )
        (row,) = cli.ok("fleet").splitlines()[1:]
        assert row.split()[4] == "current"
        assert "Applied by all live processes: 1." in cli.ok("origins", "add", tenant, ORIGIN, "--wait", "30")
        good = cli.json("tenants", "show", tenant)["revision"]
        removed = cli("origins", "remove", tenant, ORIGIN, "--confirm", "--wait", "30")
        assert "Applied by all live processes: 1." in removed.stdout
        assert "Browsers may use cached preflight responses until 2" in removed.stderr
        with redis.Redis.from_url(redis_url, client_name=PROCESS_PREFIX + "silent") as silent:
            silent.ping()
            unknown = cli("origins", "add", tenant, ORIGIN, "--wait", "1")
        assert unknown.exit_code == 1
        assert "everywhere yet:\n  applied: 1\n  not reporting: 1, whose Redis user may not write" in unknown.stderr
        client.signal(signal.SIGSTOP)
        stopped = cli("restore", tenant, str(good), "--yes", "--wait", "1")
        assert stopped.exit_code == 1
        assert f"{tenant} restored to revision {good} (now revision " in stopped.stdout
        assert "not known to be applied everywhere yet:\n  applied: 0\n  pending: process " in stopped.stderr


def test_the_fleet_without_a_process(cli: Cli) -> None:
    wait_until(lambda: cli.json("fleet")["processes"] == [], "no process is listed", 30)
    assert cli.ok("fleet").split() == [
        "SERVICES", "HOST", "PROCESS", "VERSION", "STATE", "LAG", "REVISION", "TENANTS", "KEYS", "REJECTED"
    ]  # fmt: skip


def test_tenants_are_completed_by_the_service_and_by_nothing_where_it_is_out_of_reach(cli: Cli, tenant: str) -> None:
    asked: dict[str, Any] = {
        "_CORSPOLICY_COMPLETE": "bash_complete",
        "COMP_WORDS": f"corspolicy tenants show {tenant[:-2]}",
        "COMP_CWORD": "3",
    }
    assert cli.run(**asked) == (0, f"plain,{tenant}\n", "")
    assert cli.run(**asked, CORSPOLICY_URL="http://127.0.0.1:1") == (0, "\n", "")
    words = {**asked, "COMP_WORDS": "corspolicy ori", "COMP_CWORD": "1"}
    assert cli.run(**words) == (0, "plain,origins\n", "")


def test_commands_that_call_the_api_start_without_the_servers_packages() -> None:
    modules = "import sys, policy_service.cli.main as cli; cli.main.get_command(None, 'tenants'); print(*sys.modules)"
    loaded = subprocess.run(
        [COMMAND.replace("corspolicy", "python"), "-c", modules], capture_output=True, text=True, cwd=ROOT, timeout=60
    ).stdout.split()
    assert "policy_service.cli.commands.tenants" in loaded
    assert not {"fastapi", "sqlalchemy", "alembic", "uvicorn"} & set(loaded)
