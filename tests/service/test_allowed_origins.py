"""/v1/origins: who allows an origin, and the index behind it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from corspolicy.core.policy import OriginEntry, Policy
from policy_service import migrate
from policy_service.origins.candidates import patterns_allowing
from tests.core.test_origin_properties import origins, patterns
from tests.service.helpers import driver_url, execute, problem, rows, tenant_api, write_policies
from tests.support import Api, Process

INDEXED = "SELECT tenant, policy, pattern, expires_at FROM allowed_patterns ORDER BY 1, 2, 3"
# The index as it has to be, from the documents.
EXPECTED = """
SELECT slug, policy, entry ->> 'pattern', CAST(entry ->> 'expires_at' AS timestamptz) FROM tenants,
    LATERAL jsonb_object_keys(document -> 'policies') AS policy,
    LATERAL jsonb_array_elements(document -> 'policies' -> policy -> 'allow_origins') AS entry
ORDER BY 1, policy COLLATE "C", entry ->> 'pattern' COLLATE "C"
"""


def find(api: Api, origin: str, **query: Any) -> list[tuple[str, str, str]]:
    """(tenant, service, pattern) of everything that allows an origin, page by page."""
    found: list[tuple[str, str, str]] = []
    while True:
        page = api.http.get("/v1/origins", params={"origin": origin, **query})
        assert page.status_code == 200, page.text
        items = page.json()["items"]
        assert len(items) <= query.get("limit", 100)
        found += [(item["tenant"], item["service"], item["pattern"]) for item in items]
        query["cursor"] = page.json()["next_cursor"]
        if query["cursor"] is None:
            return found


def allowed(origins: list[Any], **values: Any) -> dict[str, Any]:
    return {"allow_origins": origins, **values}


def decides(tenant: str, service: str, entries: list[str], origin: str) -> bool:
    """Whether the core allows an origin by these entries."""
    policy = CompiledPolicy(tenant, service, Policy(allow_origins=tuple(map(OriginEntry, entries))))
    return decide(Chain([policy]), "GET", [(b"origin", origin.encode())], time.time()).allowed


@st.composite
def meetings(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and an origin that it may well match."""
    pattern = draw(patterns())
    if draw(st.integers(0, 3)) == 0:
        return pattern, draw(origins())
    texts = st.sampled_from(["a", "a.b", "12", "x-1", "-", "_", "a_b", ""])
    authority = pattern.replace(":*", draw(st.sampled_from(["", ":3000"])))
    return pattern, authority.replace("*", draw(texts))


@settings(max_examples=50)
@given(meetings())
@example(("https://pre-*.example.com", "https://pre-12.example.com"))
@example(("https://*-pre.example.com:*", "https://12-pre.example.com:3000"))
@example(("https://*.example.com", "https://a.b.example.com"))
@example(("app://*", "app://localhost"))
def test_the_patterns_looked_up_are_those_by_which_the_core_allows(meeting: tuple[str, str]) -> None:
    pattern, origin = meeting
    try:
        wanted = patterns_allowing(OriginPattern.parse(origin))
        OriginPattern.parse(pattern)
    except InvalidOrigin:
        return
    assert (pattern in wanted) == decides("acme", "default", [pattern], origin)
    assert len(wanted) < 4100
    assert wanted == sorted(set(wanted))


def test_a_long_label_makes_no_more_patterns_than_the_bound() -> None:
    longest = OriginPattern.parse(f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}")
    assert 4000 < len(patterns_allowing(longest)) <= 4100


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(patterns(), min_size=1, max_size=6), st.lists(origins(), min_size=1, max_size=3))
def test_a_scan_over_all_documents_by_the_core_finds_the_same(api: Api, entries: list[str], wanted: list[str]) -> None:
    tenant = api.new_tenant()
    for service in ("default", "billing"):
        api.put_policy(tenant, allowed(entries[:: 1 if service == "default" else 2]), service)
    documents = []
    query: dict[str, Any] = {"include": "policies", "limit": 500}
    while "cursor" not in query or query["cursor"] is not None:
        page = api.http.get("/v1/tenants", params=query).json()
        documents += page["items"]
        query["cursor"] = page["next_cursor"]
    # Origins that the entries allow, too, not only such as come by chance.
    meant = [entry.replace("*.", "x.").replace("*", "9") for entry in entries]
    for origin in (*wanted, *meant):
        if api.http.get("/v1/origins", params={"origin": origin}).status_code == 422:
            continue
        scanned = [
            (document["tenant"], service, entry["pattern"])
            for document in documents
            for service, policy in document["policies"].items()
            for entry in policy["allow_origins"]
            if entry["pattern"] != "*" and not entry["expires_at"]
            if decides(document["tenant"], service, [entry["pattern"]], origin)
        ]
        assert sorted(find(api, origin)) == sorted(scanned)


def test_every_kind_of_pattern_is_found_and_nothing_else(api: Api) -> None:
    tenants = sorted(api.new_tenant() for _ in range(3))
    first, second, third = tenants
    write_policies(
        api,
        first,
        {
            "default": allowed(["https://x.example.kinds", "https://*.example.kinds", "https://y.example.kinds"]),
            "billing": allowed(["https://x.example.kinds:*", "http://x.example.kinds", "https://example.kinds"]),
        },
    )
    write_policies(api, second, {"default": allowed(["https://*.kinds:*", "https://*.x.example.kinds"])})
    write_policies(
        api, third, {"default": allowed(["https://x.example.kinds:8443", "https://pre-*.example.kinds", "app://*"])}
    )
    assert find(api, "https://x.example.kinds") == [
        (first, "default", "https://*.example.kinds"),
        (second, "default", "https://*.kinds:*"),
        (first, "default", "https://x.example.kinds"),
        (first, "billing", "https://x.example.kinds:*"),
    ]
    assert find(api, "https://x.example.kinds:8443") == [
        (second, "default", "https://*.kinds:*"),
        (first, "billing", "https://x.example.kinds:*"),
        (third, "default", "https://x.example.kinds:8443"),
    ]
    assert (third, "default", "https://pre-*.example.kinds") in find(api, "https://pre-12.example.kinds")
    assert find(api, "app://localhost") == [(third, "default", "app://*")]
    # A pattern is allowed by what allows all that it does.
    assert find(api, "https://*.x.example.kinds") == [
        (first, "default", "https://*.example.kinds"),
        (second, "default", "https://*.kinds:*"),
        (second, "default", "https://*.x.example.kinds"),
    ]


def test_pages_of_any_size_give_every_entry_once_and_in_order(api: Api) -> None:
    tenants = [api.new_tenant() for _ in range(4)]
    for tenant in tenants:
        patterns = ["https://x.example.pages", "https://*.example.pages", "https://*.example.pages:*"]
        write_policies(api, tenant, {"default": allowed(patterns), "a.b": allowed(patterns[:2])})
    whole = find(api, "https://x.example.pages")
    assert len(whole) == 4 * 5
    assert whole == sorted(whole, key=lambda entry: (entry[2], entry[0], entry[1]))
    for limit in (1, 3, 4, 8, 20):
        assert find(api, "https://x.example.pages", limit=limit) == whole


def test_entries_for_every_origin_are_counted_apart_and_listed_by_themselves(api: Api, service: Process) -> None:
    tenants = {api.new_tenant() for _ in range(3)}
    for tenant in tenants:
        write_policies(api, tenant, {"default": allowed(["*"])})
    answer = api.http.get("/v1/origins", params={"origin": "https://anyone.example"}).json()
    assert (answer["items"], answer["any_origin"]) == ([], {"count": 3, "more": False})
    assert {entry[0] for entry in find(api, "*", limit=2)} == tenants
    # Counted to a bound, however many there are.
    insert = "INSERT INTO allowed_patterns SELECT '*', 'many-' || n, 'default' FROM generate_series(1, 998) AS n"
    execute(service.environment["CORSPOLICY_DATABASE_URL"], insert)
    answer = api.http.get("/v1/origins", params={"origin": "https://anyone.example"}).json()
    assert answer["any_origin"] == {"count": 1000, "more": True}
    execute(service.environment["CORSPOLICY_DATABASE_URL"], "DELETE FROM allowed_patterns WHERE tenant LIKE 'many-%'")
    for tenant in tenants:
        api.delete_tenant(tenant)


def test_expired_entries_are_marked(api: Api) -> None:
    tenant = api.new_tenant()
    past, future = "2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    entries = [
        {"pattern": "https://x.example.ends", "expires_at": past},
        {"pattern": "https://*.example.ends", "expires_at": future},
    ]
    write_policies(api, tenant, {"default": allowed(entries)})
    items = api.http.get("/v1/origins", params={"origin": "https://x.example.ends"}).json()["items"]
    assert [(item["expires_at"], item["expired"]) for item in items] == [(future, False), (past, True)]


def test_a_tenants_key_finds_its_own_tenants_only(api: Api, service: Process) -> None:
    own, other = api.new_tenant(), api.new_tenant()
    for tenant in (own, other):
        write_policies(api, tenant, {"default": allowed(["https://x.example.own", "*"])})
    with tenant_api(api, service, own) as key:
        assert find(key, "https://x.example.own") == [(own, "default", "https://x.example.own")]
        assert find(key, "*") == [(own, "default", "*")]
        answer = key.http.get("/v1/origins", params={"origin": "https://x.example.own"}).json()
        assert answer["any_origin"] == {"count": 1, "more": False}


@pytest.mark.parametrize(
    ("origin", "code", "suggestion"),
    [
        ("https://Example.com/", "origin_path", "https://example.com"),
        ("null", "origin_null", None),
        ("x.example.com", "origin_scheme_missing", None),
        (f"app://{'a' * 64}.b", "origin_label_too_long", None),
    ],
)
def test_what_no_browser_sends_is_rejected(api: Api, origin: str, code: str, suggestion: str | None) -> None:
    [item] = problem(api.http.get("/v1/origins", params={"origin": origin}), 422, "invalid-request")["errors"]
    assert (item["code"], item["pointer"]) == (code, "/query/origin")
    assert suggestion is None or item["suggestion"] == suggestion


@pytest.mark.parametrize("cursor", ["", "0", "x acme default", "9 acme default", "-1 acme default", "0 ACME default",
                                    "0 acme /", "\u0661 acme default"])  # fmt: skip
def test_a_cursor_that_was_not_given_out_is_rejected(api: Api, cursor: str) -> None:
    query = {"origin": "app://x", "cursor": cursor}
    problem(api.http.get("/v1/origins", params=query), 400, "malformed-cursor")


def test_the_index_follows_every_write(api: Api, service: Process) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    tenant = api.new_tenant()
    path = f"/v1/tenants/{tenant}"

    def check(count: int) -> None:
        assert len([row for row in rows(database_url, INDEXED) if row[0] == tenant]) == count
        assert rows(database_url, INDEXED) == rows(database_url, EXPECTED)

    entry = api.allow(tenant, "https://a.example.writes")["id"]
    check(1)
    written = api.http.get(path).json()["revision"]
    entry_path = f"{path}/policies/default/origins/{entry}"
    patch = {"expires_at": "2099-01-01T00:00:00Z"}
    assert api.http.patch(entry_path, json=patch, headers={"If-Match": "*"}).status_code == 200
    check(1)
    api.put_policy(tenant, allowed(["https://a.example.writes", "https://b.example.writes"]), "billing")
    check(3)
    refused = api.http.put(f"{path}/policies/billing", json=allowed([]), headers={"If-Match": "*"})
    assert refused.status_code == 409
    dry = api.http.delete(entry_path, params={"dry_run": "true"})
    assert dry.status_code == 200
    check(3)
    api.remove(tenant, entry)
    check(2)
    api.delete_tenant(tenant)
    check(0)
    assert api.http.post(f"{path}/restore", json={"revision": written}).status_code == 200
    check(1)


def test_one_added_origin_costs_one_row(api: Api, service: Process) -> None:
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    tenant = api.new_tenant()
    api.put_policy(tenant, allowed([f"https://a{number}.example.rows" for number in range(500)]))
    versions = f"SELECT xmin::text, ctid::text FROM allowed_patterns WHERE tenant = '{tenant}'".replace(":", "\\:")
    before = set(rows(database_url, versions))
    api.allow(tenant, "https://new.example.rows")
    after = set(rows(database_url, versions))
    assert (len(before - after), len(after - before)) == (0, 1)


def test_the_migration_fills_the_index_from_the_documents_in_steps(database_url: str) -> None:
    url = driver_url(database_url)
    migrate.downgrade(url, "0011-1")
    policies = {"default": {"allow_origins": [{"pattern": "https://{n}.example"}, {"pattern": "*"}]}, "empty": {}}
    document = json.dumps({"policies": policies}).replace("{n}", "' || n || '").replace(":", "\\:")
    execute(
        database_url,
        f"INSERT INTO tenants (slug, revision, document) SELECT 'many-' || n, n, ('{document}')\\:\\:jsonb"
        " FROM generate_series(1, 2100) AS n",
    )
    execute(database_url, "INSERT INTO tenants (slug, revision, document) VALUES ('odd', 1, '{\"policies\"\\: 5}')")
    migrate.upgrade(url)
    assert rows(database_url, "SELECT count(*), count(DISTINCT tenant) FROM allowed_patterns") == [(4200, 2100)]
    assert rows(database_url, "SELECT pattern, policy FROM allowed_patterns WHERE tenant = 'many-2100' ORDER BY 1") == [
        ("*", "default"),
        ("https://2100.example", "default"),
    ]
