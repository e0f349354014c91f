"""Processes start and stop while a write waits until it is applied everywhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faults.line import NEW, OLD, Line
from tests.faults.proxy import Way
from tests.support import wait_until


def change_and_wait(line: Line, tenant: str, origin: str, seconds: int) -> dict[str, Any]:
    """Replace what a tenant allows by `origin`, waiting until that is applied; the receipt."""
    path = f"/v1/tenants/{tenant}/policies/default"
    headers = {"If-Match": "*", "Prefer": f"wait={seconds}"}
    answer = line.api.http.put(path, json={"allow_origins": [origin]}, headers=headers, params={"confirm": "true"})
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()["propagation"]
    return receipt


def test_a_process_that_starts_during_a_removal_is_waited_for(line: Line) -> None:
    tenant = line.new_tenant()
    with ThreadPoolExecutor() as pool, line.proxy.holding(b"HSCAN", Way.DOWN) as wait_until_held:
        # It has asked for the snapshot in which the tenant still allows OLD.
        starting = pool.submit(line.start_clients, line.proxy.url)
        wait_until_held()
        receipt = change_and_wait(line, tenant, NEW, seconds=2)
        assert not receipt["complete"]
        assert receipt["pending"]["count"] == 1
        line.proxy.reset()
        path = f"/v1/revisions/{receipt['revision']}/propagation"
        line.measure(
            "client starts during a removal, from its line's reset until the receipt",
            lambda: line.api.http.get(path).json()["complete"],
        )
    (client,) = starting.result()
    assert line.api.http.get(path).json()["applied"]["count"] >= 3
    assert line.shows(client, tenant, NEW)
    client.stop()


def test_a_process_that_was_stopped_is_not_waited_for(line: Line) -> None:
    tenant = line.new_tenant()
    (client,) = line.start_clients(line.redis.url)
    line.wait_until_shown(tenant, OLD, client)
    receipt = change_and_wait(line, tenant, NEW, seconds=20)
    count = receipt["applied"]["count"]
    client.stop()
    receipts: list[dict[str, Any]] = []

    def is_complete() -> bool:
        receipts.append(change_and_wait(line, tenant, OLD, seconds=20))
        return bool(receipts[-1]["complete"])

    line.measure("client stopped, receipt of the next change", is_complete, within=5.0)
    (receipt,) = receipts
    assert receipt["applied"]["count"] == count - 1


def test_a_process_that_holds_something_else_than_is_published_is_corrected(line: Line) -> None:
    tenant = line.new_tenant()
    # Written by somebody else, and to the stream only: of a revision that is far ahead.
    line.published.announce(tenant=tenant, envelope=line.published.envelope(tenant, 10**9, NEW))
    for client in line.clients:
        wait_until(lambda client=client: line.granted(client, tenant, NEW), "it applies what is wrong")  # type: ignore[misc]
    line.recovers("a forged entry in the stream", tenant, OLD, within=30.0)
    line.follows()
