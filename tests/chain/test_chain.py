"""The whole line with real processes: the service and its publisher, Redis, and services that apply the policies."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime

import httpx

from tests.chain.line import ORIGIN, Line
from tests.support import wait_until


def test_an_origin_is_admitted_everywhere_and_taken_back_with_no_restart(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.wait_until_denied(tenant)
    entry = line.api.allow(tenant, ORIGIN)
    line.wait_until_allowed(tenant)
    line.api.remove(tenant, entry["id"])
    line.wait_until_denied(tenant)


def test_a_services_own_policy_stands_instead_of_the_default_in_that_service_alone(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.api.allow(tenant, ORIGIN)
    line.wait_until_allowed(tenant)
    assert line.api.put_policy(tenant, {"allow_origins": ["https://other.example.com"]}, "billing").status_code == 201
    billing, orders = line.clients
    wait_until(lambda: not line.may_read(billing, tenant), "billing has its own policy")
    assert line.may_read(billing, tenant, "https://other.example.com")
    assert line.may_read(orders, tenant)


def test_the_platforms_policy_applies_to_known_tenants_alone(line: Line) -> None:
    tenant = line.api.new_tenant()
    entry = line.api.allow("platform", "https://console.example.com")
    line.wait_until_allowed(tenant, "https://console.example.com")
    assert not line.may_read(line.clients[0], "ghost", "https://console.example.com")
    line.api.remove("platform", entry["id"])
    line.wait_until_denied(tenant, "https://console.example.com")


def test_a_deleted_tenant_is_granted_nothing_and_a_new_one_of_its_name_starts_empty(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.api.allow(tenant, ORIGIN)
    line.wait_until_allowed(tenant)
    line.api.delete_tenant(tenant)
    line.wait_until_denied(tenant)
    assert line.api.http.post("/v1/tenants", json={"tenant": tenant}).status_code == 201
    line.api.allow(tenant, "https://new.example.com")
    line.wait_until_allowed(tenant, "https://new.example.com")
    line.wait_until_denied(tenant)


def test_an_origin_that_expires_is_refused_at_its_end_and_leaves_the_document_soon_after(line: Line) -> None:
    tenant = line.api.new_tenant()
    path = f"/v1/tenants/{tenant}/policies/default/origins"
    end = time.time() + 3
    body = {"pattern": ORIGIN, "expires_at": datetime.fromtimestamp(end, UTC).isoformat()}
    assert line.api.http.post(path, json=body).status_code == 201
    line.wait_until_allowed(tenant)
    line.wait_until_denied(tenant)
    assert time.time() >= end
    wait_until(lambda: line.api.http.get(path).json()["items"] == [], "the entry is removed")
    (change, *_) = line.api.http.get(f"/v1/tenants/{tenant}/changes").json()["items"]
    assert (change["actor"], change["action"]) == ("corspolicy", "origin.expire")
    for client in line.clients:
        wait_until(
            lambda client=client: httpx.get(f"{client.url}/livez").json()["revision"] >= change["revision"],  # type: ignore[misc]
            "the removal is applied",
        )


def test_the_explanation_is_what_the_services_answer(line: Line) -> None:
    tenant = line.api.new_tenant()
    body = {"allow_origins": ["https://*.example.com"], "allow_credentials": True, "expose_headers": ["X-Total"]}
    assert line.api.put_policy(tenant, body).status_code == 200
    line.wait_until_allowed(tenant)
    question = {"tenant": tenant, "service": "billing", "method": "GET", "headers": {"Origin": ORIGIN}}
    explained = line.api.http.post("/v1/decisions", json=question).json()
    answer = httpx.get(f"{line.clients[0].url}/t/{tenant}", headers={"Origin": ORIGIN})
    assert explained["pattern"] == "https://*.example.com"
    assert dict(explained["headers"]) == {
        name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"
    }


def test_a_second_service_takes_over_when_the_first_dies(line: Line) -> None:
    first = line.service
    line.restart_service()
    tenant = line.api.new_tenant()
    line.api.allow(tenant, ORIGIN)
    # Written through the one that stands by, published by the one that leads.
    line.wait_until_allowed(tenant)
    first.kill()
    line.api.allow(tenant, "https://later.example.com")
    line.wait_until_allowed(tenant, "https://later.example.com")


def test_a_change_made_while_the_leader_is_paused_arrives_when_it_wakes(line: Line) -> None:
    tenant = line.api.new_tenant()
    line.api.allow(tenant, ORIGIN)
    line.wait_until_allowed(tenant)
    old = line.service
    line.restart_service()
    old.signal(signal.SIGSTOP)
    try:
        entries = line.api.http.get(f"/v1/tenants/{tenant}/policies/default/origins").json()["items"]
        line.api.remove(tenant, entries[0]["id"])
    finally:
        old.signal(signal.SIGCONT)
    line.wait_until_denied(tenant)
    line.api.allow(tenant, "https://marker.example.com")
    line.wait_until_allowed(tenant, "https://marker.example.com")
    line.wait_until_denied(tenant)
