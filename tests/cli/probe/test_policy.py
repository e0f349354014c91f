"""`corspolicy probe` with --tenant and --service: what the policy means, and what the address does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.helpers import Cli
from tests.cli.probe.probing import ORIGIN, POLICY, STRANGER, json_of, outcome
from tests.cli.probe.proxies import Proxy
from tests.client.uvicorns import serving
from tests.scripted import Answer, Scripted
from tests.support import Api


@pytest.fixture(scope="module")
def tenant(shared_api: Api) -> str:
    tenant = shared_api.new_tenant()
    assert shared_api.put_policy(tenant, POLICY, "billing").status_code == 201
    return tenant


def _compared(cli: Cli, tenant: str, port: int, *options: str, origin: str = ORIGIN) -> tuple[int, Any]:
    address = f"http://127.0.0.1:{port}/"
    asked = ("--tenant", tenant, "--service", "billing", "-o", "json")
    result = cli("probe", address, "--origin", origin, *options, *asked)
    report = json_of(result)
    return result.exit_code, (report["policy"]["allowed"], {each["code"] for each in report["findings"]})


def test_the_address_does_what_the_policy_means(cli: Cli, tenant: str, ours: int) -> None:
    for options in ((), ("--credentials",), ("--method", "PUT", "--header", "Authorization: x")):
        assert _compared(cli, tenant, ours, *options) == (0, (True, set()))
    assert _compared(cli, tenant, ours, "--method", "DELETE") == (3, (False, set()))
    assert _compared(cli, tenant, ours, origin=STRANGER) == (3, (False, set()))


def test_something_else_answers(cli: Cli, tenant: str, ours: int) -> None:
    anybody = Scripted({("GET", "/"): Answer(200, [("Access-Control-Allow-Origin", "*")])})
    with serving(anybody, lifespan="off") as port:
        allowed = (False, {"not_as_policy", "headers_not_as_policy"})
        assert _compared(cli, tenant, port, origin=STRANGER) == (4, allowed)
        # Right for this page, and still not the policy's answer.
        assert _compared(cli, tenant, port) == (4, (True, {"headers_not_as_policy"}))
    with serving(Proxy(ours, {"OPTIONS": Answer(401)}), lifespan="off") as port:
        found = _compared(cli, tenant, port, "--method", "PUT")
    assert found == (4, (True, {"preflight_unauthorized", "not_as_policy", "headers_not_as_policy"}))


def test_a_stored_denial_is_known_to_be_wrong(cli: Cli, tenant: str, ours: int) -> None:
    with serving(Proxy(ours, caches=True), lifespan="off") as port:
        assert outcome(port, origin=STRANGER)[0] == 3
        found = _compared(cli, tenant, port)
    assert found == (4, (True, {"cached_answer", "not_as_policy", "headers_not_as_policy"}))


def test_an_error_for_a_denied_origin_is_no_fault(cli: Cli, tenant: str, ours: int) -> None:
    with serving(Proxy(ours, {"GET": Answer(500)}), lifespan="off") as port:
        assert _compared(cli, tenant, port, origin=STRANGER) == (3, (False, set()))


def test_in_words(cli: Cli, tenant: str, ours: int) -> None:
    address = f"http://127.0.0.1:{ours}/"
    asked = ("--tenant", tenant, "--service", "billing")
    allowed = cli.ok("probe", address, "--origin", ORIGIN, *asked)
    assert f"policy: allowed. The request is allowed by the policy billing of tenant {tenant}." in allowed
    denied = cli("probe", address, "--origin", STRANGER, *asked).output
    assert "policy: denied. " in denied
