"""`corspolicy origins find | remove-everywhere`."""

from __future__ import annotations

from typing import Any

import pytest

from policy_service.cli.commands import origins_everywhere
from policy_service.cli.shared.api import Api as CliApi
from tests.cli.helpers import Cli
from tests.support import Api

REMOVE = ("origins", "remove-everywhere")


@pytest.fixture
def domain(shared_api: Api) -> str:
    """A domain that no other test uses."""
    return f"{shared_api.new_tenant()}.com"


def patterns(api: Api, tenant: str, service: str = "default") -> list[str]:
    items = api.http.get(f"/v1/tenants/{tenant}/policies/{service}/origins").json()["items"]
    return [item["pattern"] for item in items]


def revisions(api: Api, tenant: str) -> int:
    return len(api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"])


def test_find_names_every_entry_and_tells_of_those_for_every_origin(cli: Cli, shared_api: Api, domain: str) -> None:
    first, second = sorted(shared_api.new_tenant() for _ in range(2))
    origin = f"https://app.{domain}"
    shared_api.put_policy(first, {"allow_origins": [f"https://*.{domain}", "*"]})
    shared_api.put_policy(second, {"allow_origins": [{"pattern": origin, "expires_at": "2099-01-01T00:00:00Z"}]})
    result = cli("origins", "find", origin)
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["TENANT", "SERVICE", "PATTERN", "EXPIRES", "AT", "EXPIRED"],
        [first, "default", f"https://*.{domain}", "-", "no"],
        [second, "default", origin, "2099-01-01T00:00:00Z", "no"],
    ]
    assert "allow every origin (`*`, without credentials): `corspolicy origins find '*'` lists them." in result.stderr
    found = cli.json("origins", "find", origin)
    assert [item["tenant"] for item in found["items"]] == [first, second]
    assert found["any_origin"]["count"] >= 1
    nothing = f"No entry for https://{domain}, nor a wildcard that covers it.\n"
    assert cli.ok("origins", "find", f"https://{domain}") == nothing
    shared_api.delete_tenant(first)


def test_find_reads_every_page(cli: Cli, shared_api: Api, domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins_everywhere, "PAGE", 2)
    tenants = sorted(shared_api.new_tenant() for _ in range(5))
    for tenant in tenants:
        shared_api.allow(tenant, f"https://app.{domain}")
    found = cli.json("origins", "find", f"https://app.{domain}")
    assert [item["tenant"] for item in found["items"]] == tenants


def test_an_origin_is_removed_everywhere_in_one_change_per_tenant(cli: Cli, shared_api: Api, domain: str) -> None:
    origin, other = f"https://app.{domain}", f"https://www.{domain}"
    only, several = sorted(shared_api.new_tenant() for _ in range(2))
    shared_api.put_policy(only, {"allow_origins": [origin]})
    for service in ("default", "billing"):
        shared_api.put_policy(several, {"allow_origins": [origin, {"pattern": other, "note": "n"}]}, service)
    before = revisions(shared_api, only), revisions(shared_api, several)
    result = cli(*REMOVE, origin, "--yes", "--reason", "the domain was sold")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{origin} is removed from 2 tenants:",
        f"  - {only} (default)",
        f"  - {several} (billing, default)",
        f"{only}: removed from default",
        f"{several}: removed from billing, default",
    ]
    assert [patterns(shared_api, only)] == [[]]
    for service in ("default", "billing"):
        assert patterns(shared_api, several, service) == [other]
    assert (revisions(shared_api, only), revisions(shared_api, several)) == (before[0] + 1, before[1] + 1)
    change = shared_api.http.get(f"/v1/tenants/{several}/changes").json()["items"][0]
    assert (change["reason"], len(change["difference"])) == ("the domain was sold", 2)
    again = cli(*REMOVE, origin)
    assert (again.exit_code, again.stdout) == (0, f"{origin} is removed from 0 tenants.\n")


def test_what_a_wildcard_allows_stays_and_is_named(cli: Cli, shared_api: Api, domain: str) -> None:
    origin, wildcard = f"https://app.{domain}", f"https://*.{domain}"
    tenant = shared_api.new_tenant()
    shared_api.put_policy(tenant, {"allow_origins": [origin, wildcard]})
    result = cli(*REMOVE, origin, "--yes")
    assert result.exit_code == origins_everywhere.STILL_ALLOWED
    assert f"Not removed: allowed by {wildcard} in\n    {tenant} (default)\n" in result.stdout
    assert f"corspolicy origins remove-everywhere '{wildcard}'" in result.stdout
    assert "Still allowed" in result.stderr
    assert patterns(shared_api, tenant) == [wildcard]
    assert cli(*REMOVE, wildcard, "--yes").exit_code == 0
    assert patterns(shared_api, tenant) == []


def test_nothing_is_removed_without_a_confirmation(cli: Cli, shared_api: Api, domain: str) -> None:
    tenant, origin = shared_api.new_tenant(), f"https://app.{domain}"
    shared_api.allow(tenant, origin)
    result = cli(*REMOVE, origin)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: Not a terminal: pass --yes to remove it without confirmation.\n",
    )
    assert patterns(shared_api, tenant) == [origin]


def test_a_change_between_reading_and_writing_is_not_lost(
    cli: Cli, shared_api: Api, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = f"https://app.{domain}"
    tenant = shared_api.new_tenant()
    for service in ("default", "billing"):
        shared_api.put_policy(tenant, {"allow_origins": [origin]}, service)
    call, added = CliApi.call, f"https://new.{domain}"

    def call_after_another_change(self: CliApi, method: str, path: str, *args: Any, **options: Any) -> Any:
        if method == "PUT" and added not in patterns(shared_api, tenant):
            shared_api.allow(tenant, added)
        return call(self, method, path, *args, **options)

    monkeypatch.setattr(CliApi, "call", call_after_another_change)
    assert cli(*REMOVE, origin, "--yes").exit_code == 0
    assert (patterns(shared_api, tenant), patterns(shared_api, tenant, "billing")) == ([added], [])


def test_a_tenant_that_rejects_it_does_not_stop_the_others(
    cli: Cli, shared_api: Api, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and a second run does the rest."""
    origin = f"https://app.{domain}"
    tenants = sorted(shared_api.new_tenant() for _ in range(3))
    for tenant in tenants:
        shared_api.allow(tenant, origin)
    monkeypatch.setattr(origins_everywhere, "MAX_ATTEMPTS", 1)
    call = CliApi.call

    def call_with_a_stale_revision(self: CliApi, method: str, path: str, *args: Any, **options: Any) -> Any:
        if method == "DELETE" and tenants[1] in path:
            options["revision"] -= 1
        return call(self, method, path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(CliApi, "call", call_with_a_stale_revision)
        result = cli(*REMOVE, origin, "--yes")
    assert result.exit_code == 1
    assert f"{tenants[1]}: Precondition Failed: If-Match names another revision" in result.stderr
    assert result.stderr.endswith("Error: Rejected and left unchanged: 1 tenant.\n")
    assert [patterns(shared_api, tenant) for tenant in tenants] == [[], [origin], []]
    assert cli(*REMOVE, origin, "--yes").exit_code == 0
    assert patterns(shared_api, tenants[1]) == []
