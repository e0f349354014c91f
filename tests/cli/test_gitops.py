"""`corspolicy export | diff | apply` against a real service."""

from __future__ import annotations

import json
import os
import pty
import secrets
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from corspolicy.core.policy import SETTINGS
from policy_service.cli.gitops.schema import SCHEMA
from tests.cli.helpers import COMMAND, Cli, write
from tests.service.helpers import FULL
from tests.support import ROOT, Api

DIFFERENCES = 2


@pytest.fixture
def tenant() -> str:
    """The slug of a tenant that does not exist."""
    return f"g-{secrets.token_hex(5)}"


def _revision(api: Api, tenant: str) -> int:
    revision: int = api.http.get(f"/v1/tenants/{tenant}").json()["revision"]
    return revision


def _whole(api: Api, tenant: str) -> dict[str, Any]:
    whole: dict[str, Any] = api.http.get(f"/v1/tenants/{tenant}", params={"include": "policies"}).json()
    return whole


def test_a_tenant_is_created_changed_and_left_alone_each_in_one_request(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    file = write(folder, tenant, "name: Acme\npolicies:\n  default:\n    allow_origins: [https://a.example.com]\n")
    plan = cli("diff", "-f", folder)
    assert plan.exit_code == DIFFERENCES
    assert plan.stdout.splitlines()[:5] == [
        f"+ {tenant}",
        '    + name: "Acme"',
        "    + default policy",
        "    + default allow_origins: https://a.example.com",
        "1 to create, 0 to change, 0 to delete; 0 unchanged.",
    ]
    assert "1 of 1 tenant applied." in cli.ok("apply", "-f", folder, "--yes", "--reason", "ticket 5 ❤")
    first = _revision(shared_api, tenant)
    assert cli("diff", "-f", folder).exit_code == 0
    cli.ok("apply", "-f", folder, "--yes")
    assert _revision(shared_api, tenant) == first
    file.write_text(
        file.read_text()
        + "    max_age: 300\n  billing:\n    allow_origins:\n"
        + "      - {pattern: https://b.example.com, note: old, expires_at: 2099-01-31T12:00:00Z}\n"
    )
    assert cli("diff", "-f", folder).stdout.splitlines()[:5] == [
        f"~ {tenant}",
        "    + billing policy",
        "    + billing allow_origins: https://b.example.com (note: old, expires_at: 2099-01-31T12:00:00Z)",
        "    + default max_age: 300",
        "0 to create, 1 to change, 0 to delete; 0 unchanged.",
    ]
    cli.ok("apply", "-f", file, "--yes")
    changes = shared_api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"]
    assert [(change["action"], change["reason"]) for change in changes] == [
        ("tenant.put", None),
        ("tenant.create", "ticket 5 ❤"),
    ]


def test_an_entry_that_stays_keeps_its_id_and_loses_what_its_file_no_longer_has(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    origin = "{pattern: https://a.example.com, note: why, expires_at: 2099-01-31T12:00:00Z}"
    file = write(folder, tenant, f"policies: {{default: {{allow_origins: [{origin}]}}}}\n")
    cli.ok("apply", "-f", folder, "--yes")
    (before,) = _whole(shared_api, tenant)["policies"]["default"]["allow_origins"]
    file.write_text(f"tenant: {tenant}\npolicies: {{default: {{allow_origins: [https://a.example.com]}}}}\n")
    assert (
        "    ~ default allow_origins: https://a.example.com (note: why → none, expires_at: 2099-01-31T12:00:00Z → none)"
        in cli("diff", "-f", folder).stdout.splitlines()
    )
    cli.ok("apply", "-f", folder, "--yes")
    (after,) = _whole(shared_api, tenant)["policies"]["default"]["allow_origins"]
    assert after == {**before, "note": None, "expires_at": None}
    assert cli("diff", "-f", folder).exit_code == 0


def test_exported_files_are_valid_and_differ_in_nothing(cli: Cli, shared_api: Api, folder: Path, tenant: str) -> None:
    shared_api.http.post("/v1/tenants", json={"tenant": tenant, "name": "Ünï ❤"})
    shared_api.put_policy(tenant, FULL, "billing")
    cli.ok("export", "-f", folder)
    exported = {path.stem: path.read_text() for path in folder.iterdir()}
    assert {tenant, "platform"} <= exported.keys()
    for text in exported.values():
        jsonschema.validate(yaml.safe_load(text), SCHEMA)
    assert cli("diff", "-f", folder).exit_code == 0
    other = folder.with_name("other")
    cli.ok("export", "-f", other)
    assert {path.stem: path.read_text() for path in other.iterdir()} == exported


def test_export_keeps_equivalent_files_and_names_those_of_unknown_tenants(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    shared_api.http.post("/v1/tenants", json={"tenant": tenant})
    text = f"# yaml-language-server: $schema=x.json\ntenant: {tenant}\npolicies:\n  default: {{}} # nobody yet\n"
    file = folder / f"{tenant}.yaml"
    file.write_text(text)
    write(folder, "nobody-here", "policies: {}\n")
    result = cli("export", "-f", folder)
    assert "Not touched, because the service has no such tenant: nobody-here.yaml." in result.stderr
    assert file.read_text() == text
    shared_api.allow(tenant, "https://a.example.com")
    cli.ok("export", "-f", folder)
    assert file.read_text() == (
        f"# yaml-language-server: $schema=x.json\ntenant: {tenant}\npolicies:\n  default:\n    allow_origins:\n"
        "      - https://a.example.com\n"
    )


def test_the_order_in_a_list_and_expired_entries_make_no_difference(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    text = (
        "policies: {default: {allow_origins: [https://b.example.com, https://a.example.com], allow_methods: [PUT]}}\n"
    )
    write(folder, tenant, text)
    cli.ok("apply", "-f", folder, "--yes")
    write(
        folder,
        tenant,
        "policies:\n  default:\n    allow_methods: [put]\n    allow_origins:\n      - https://a.example.com\n"
        "      - {pattern: https://c.example.com, expires_at: 2001-01-31T12:00:00Z}\n      - https://b.example.com\n",
    )
    assert cli("diff", "-f", folder).exit_code == 0


def test_every_invalid_file_is_named_and_nothing_is_applied(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    write(folder, tenant, "policies: {}\n")
    write(folder, "bad", "policies:\n  default:\n    allow_origins: [https://a.example.com/]\n    max_agee: 5\n")
    write(folder, "worse", "polices: {}\n")
    for command in (("diff",), ("apply", "--yes")):
        result = cli(*command, "-f", folder)
        assert result.exit_code == 1
        assert result.stderr.splitlines() == [
            "Error: 4 problems in 2 files; nothing was compared or changed.",
            f"  {folder}/bad.yaml:4: An origin has no path or trailing slash: it is scheme, host and port only.",
            "    try: https://a.example.com",
            f"  {folder}/bad.yaml:5: Unknown setting. The settings are {', '.join(SETTINGS)}.",
            f"  {folder}/worse.yaml:1: policies must map each service, or `default`, to its policy; {{}} for none.",
            f"  {folder}/worse.yaml:2: Unknown key: polices. The keys are tenant, name, policies.",
        ]
    assert shared_api.http.get(f"/v1/tenants/{tenant}").status_code == 404


def test_only_tenants_that_are_named_are_deleted_and_only_without_a_file(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    shared_api.http.post("/v1/tenants", json={"tenant": tenant})
    write(folder, other := f"{tenant}-2", "policies: {}\n")
    plan = cli("diff", "-f", folder)
    assert "without a file" in plan.stdout
    assert f"- {tenant}" not in plan.stdout
    arguments = ("apply", "-f", folder, "--yes", "--prune", tenant)
    assert f"- {tenant}" in cli("diff", "-f", folder, "--prune", tenant).stdout
    assert "2 of 2 tenants applied." in cli.ok(*arguments)
    assert shared_api.http.get(f"/v1/tenants/{tenant}").status_code == 404
    assert "0 to create, 0 to change, 0 to delete" in cli.ok(*arguments)
    for name, said in ((other, "has a file"), ("platform", "can't be deleted")):
        result = cli("apply", "-f", folder, "--yes", "--prune", name)
        assert (result.exit_code, said in result.stderr) == (1, True)


def test_a_tenant_that_is_rejected_does_not_stop_the_others(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    write(folder, tenant, "policies: {default: {allow_origins: [https://a.example.com]}}\n")
    cli.ok("apply", "-f", folder, "--yes")
    write(folder, tenant, "policies: {default: {}}\n")
    write(folder, f"{tenant}-2", "policies: {}\n")
    rejected = cli("apply", "-f", folder, "--yes")
    assert rejected.exit_code == 1
    assert "1 of 2 tenants applied." in rejected.stdout
    assert f"{tenant}: Rejected: this removes more than half" in rejected.stderr
    assert "Rejected and left unchanged: 1 tenant." in rejected.stderr
    assert len(_whole(shared_api, tenant)["policies"]["default"]["allow_origins"]) == 1
    cli.ok("apply", "-f", folder, "--yes", "--confirm")
    assert _whole(shared_api, tenant)["policies"]["default"]["allow_origins"] == []


def test_the_plan_as_json(cli: Cli, folder: Path, tenant: str) -> None:
    write(folder, tenant, "policies: {default: {allow_origins: [https://a.example.com]}}\n")
    result = cli("diff", "-f", folder, "--output", "json")
    assert result.exit_code == DIFFERENCES
    (step,) = json.loads(result.stdout)
    assert (step["action"], step["tenant"], step["revision"]) == ("create", tenant, None)
    assert step["edits"][1] == {
        "policy": "default", "setting": "allow_origins", "value": "https://a.example.com", "before": None, "after": {}
    }  # fmt: skip


def test_without_a_terminal_and_without_yes_nothing_is_applied(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    write(folder, tenant, "policies: {}\n")
    code, output, errors = cli.run("apply", "-f", folder)
    assert code == 1
    assert "Not a terminal: pass --yes" in errors
    assert "\x1b" not in output + errors
    assert shared_api.http.get(f"/v1/tenants/{tenant}").status_code == 404


@pytest.mark.parametrize(("answer", "status"), [("n", 404), ("y", 200)])
def test_on_a_terminal_it_asks_and_shows_colours_and_progress(
    cli: Cli, shared_api: Api, folder: Path, tenant: str, answer: str, status: int
) -> None:
    write(folder, tenant, "policies: {}\n")
    ours, theirs = pty.openpty()
    environment = {**os.environ, **cli.environment, "TERM": "xterm"}
    with subprocess.Popen(
        [COMMAND, "apply", "-f", folder], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = _read_until(ours, b"[y/N]")
        assert b"\x1b[32m+ " in shown
        os.write(ours, answer.encode() + b"\n")
        shown = _read_until(ours, None)
        assert (b"100%" in shown) == (answer == "y")
        assert process.wait(30) == (0 if answer == "y" else 1)
    os.close(ours)
    assert shared_api.http.get(f"/v1/tenants/{tenant}").status_code == status


def _read_until(terminal: int, end: bytes | None) -> bytes:
    shown = b""
    while end is None or end not in shown:
        try:
            shown += os.read(terminal, 1024)
        except OSError:  # The other side is closed.
            assert end is None, shown
            break
    return shown


def test_a_key_that_may_only_read_plans_but_changes_nothing(
    cli: Cli, shared_api: Api, folder: Path, tenant: str
) -> None:
    reader = Cli(cli.url, cli.ok("keys", "create", "--role", "reader").strip())
    write(folder, tenant, "policies: {}\n")
    assert reader("diff", "-f", folder).exit_code == DIFFERENCES
    rejected = reader("apply", "-f", folder, "--yes")
    assert rejected.exit_code == 1
    assert "0 of 1 tenant applied." in rejected.stdout
    assert shared_api.http.get(f"/v1/tenants/{tenant}").status_code == 404


@pytest.mark.parametrize("arguments", [("diff",), ("diff", "--nope", "-f", "."), ("diff", "-f", "/nope"), ("nope",)])
def test_a_wrong_call_has_the_exit_code_of_an_error(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).exit_code == 1


def test_a_folder_without_files_of_tenants_is_an_error(cli: Cli, folder: Path) -> None:
    result = cli("diff", "-f", folder)
    assert result.exit_code == 1
    assert "No tenant files, such as acme.yaml, in " in result.stderr


def test_the_published_schema_is_the_one_that_is_printed(cli: Cli) -> None:
    assert (ROOT / "docs/tenant.schema.json").read_text() == cli.ok("schema")
