"""A service that signs what it publishes, and a process that takes nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corspolicy.sync.signatures import Verifier
from tests.client.published import Published
from tests.client.signed import new_key
from tests.conftest import admin_key, service_environment
from tests.redis_users import as_user
from tests.support import Api, may_read, running, wait_until

A, B, EVIL = "https://app.example.com", "https://b.example.com", "https://evil.example"


@pytest.mark.parametrize("capacity", [2, 100])
def test_signed_from_the_api_to_the_header_through_a_loss_and_a_rotation(
    new_database: Callable[[], str], redis_url: str, tmp_path: Path, capacity: int
) -> None:
    published, database_url = Published(redis_url), new_database()
    keys = [new_key(tmp_path / "1.pem"), new_key(tmp_path / "2.pem")]
    environment = service_environment(database_url, redis_url)
    options = {
        "redis_url": as_user(redis_url, "client"), "public_keys": keys, "max_stale": 5.0, "capacity": capacity,
    }  # fmt: skip
    with (
        running(
            "policy_service.app:create_app", environment | {"CORSPOLICY_SIGNING_KEY_FILE": str(tmp_path / "1.pem")}
        ) as first,
        running("tests.chain.apps:billing", {"TEST_TENANT_FROM": "path", "TEST_POLICIES": json.dumps(options)}) as app,
    ):
        api = Api(first.url, admin_key(database_url))

        def allows(tenant: str, origin: str) -> bool:
            return may_read(f"{app.url}/t/{tenant}", origin)

        tenants = [api.new_tenant() for _ in range(5)]
        acme = tenants[0]
        for tenant in tenants:
            api.put_policy(tenant, {"allow_origins": [A]})
        wait_until(lambda: all(allows(tenant, A) for tenant in tenants), "all are allowed")

        published.insert(acme, published.envelope(acme, 10**6, EVIL))
        api.put_policy(acme, {"allow_origins": [B]})
        # The service finds the forgery, and writes everything again.
        wait_until(lambda: allows(acme, B) and not allows(acme, A), "the change is applied")
        assert not allows(acme, EVIL)

        published.redis.flushdb()
        api.put_policy(acme, {"allow_origins": [A]})
        wait_until(lambda: allows(acme, A) and not allows(acme, B), "the change is applied")
        first.stop()
        with running(
            "policy_service.app:create_app", environment | {"CORSPOLICY_SIGNING_KEY_FILE": str(tmp_path / "2.pem")}
        ) as second:
            api = Api(second.url, admin_key(database_url))
            api.put_policy(acme, {"allow_origins": [B]})
            wait_until(lambda: allows(acme, B) and not allows(acme, A), "the change is applied")
            _wait_until_current(api, keys)
            signed_by = published.redis.hget(published.keys.documents, acme).split(b" ")[1]
            assert Verifier("corspolicy", keys[1:]).key_ids[0].encode() in signed_by


def _wait_until_current(api: Api, keys: list[str]) -> None:
    def process() -> Any:
        processes = api.http.get("/v1/fleet").json()["processes"]
        return len(processes) == 1 and processes[0]["state"] == "current" and processes[0]

    found = wait_until(process, "the process is current")
    assert found["key_ids"] == Verifier("corspolicy", keys).key_ids
    assert found["ready"]
