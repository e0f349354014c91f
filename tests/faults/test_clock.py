"""The clock of a process is stepped while it runs: by an hour, forward or back. Durations do not follow it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from corspolicy.status import Report
from tests.faults import clocks
from tests.faults.line import NEW, OLD, Line
from tests.keys import PROCESS_PREFIX, PROCESSES
from tests.support import Process, wait_until

HOUR = 3600
MAX_STALE = 8.0


class ClockedLine(Line):
    """A line whose processes have clocks of their own, which can be stepped."""

    def _start(self, application: str, environment: dict[str, str]) -> Process:
        clocked = {"policy_service.app:create_app": "policy_service", "tests.chain.apps:billing": "billing"}[
            application
        ]
        options = {"TEST_POLICIES": json.dumps({"max_stale": MAX_STALE})}
        return super()._start(f"tests.faults.clocks:{clocked}", {**environment, **options})

    def step(self, process: Process, seconds: int) -> None:
        """Step its clock to so many seconds from what is true."""
        assert httpx.get(f"{process.url}{clocks.PATH}?{seconds}").status_code == 204

    def heal(self) -> None:
        for process in (self.service, *self.clients):
            self.step(process, 0)
        super().heal()


@pytest.fixture(scope="module")
def line_type() -> type[Line]:
    return ClockedLine


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_changes_are_applied(line: ClockedLine, seconds: int) -> None:
    tenant, late = line.new_tenant(), line.new_tenant()
    line.step(line.far, seconds)
    line.change(tenant)
    line.recovers("clock of a client stepped by an hour", tenant)
    line.step(line.far, 0)
    line.step(line.service, seconds)
    line.put(tenant, OLD)
    line.recovers("clock of the service stepped by an hour", tenant, OLD)
    line.redis.kill()
    line.change(tenant)
    line.step(line.far, seconds)
    line.step(line.service, -seconds)
    line.redis.start()
    line.recovers("clocks stepped by an hour while Redis is away", tenant, keeping=late)
    line.follows()


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_what_is_held_grows_stale_by_the_time_that_passes(line: ClockedLine, seconds: int) -> None:
    tenant = line.new_tenant()
    line.step(line.far, seconds)
    assert line.shows(line.far, tenant, OLD)
    line.follows()
    line.redis.kill()
    cut_off_at = time.monotonic()
    line.step(line.far, -seconds)
    assert line.shows(line.far, tenant, OLD)
    line.wait_until_shown(tenant, None)
    assert time.monotonic() - cut_off_at > MAX_STALE - 3.0, "a client confirms what it holds every two seconds"
    line.redis.start()
    line.recovers("stale, and its clock stepped by an hour", tenant, OLD)


def test_an_entry_expires_by_the_clock(line: ClockedLine) -> None:
    tenant = line.new_tenant()
    in_half_an_hour = (datetime.now(UTC) + timedelta(seconds=HOUR / 2)).isoformat()
    origin = {"pattern": NEW, "expires_at": in_half_an_hour}
    assert line.api.put_policy(tenant, {"allow_origins": [origin]}).status_code == 200
    line.wait_until_shown(tenant, NEW)
    line.step(line.far, HOUR)
    assert line.shows(line.far, tenant, None)
    assert line.shows(line.near, tenant, NEW)
    line.step(line.far, 0)
    assert line.shows(line.far, tenant, NEW)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_process_with_a_wrong_clock_is_listed_and_hides_no_other(line: ClockedLine, seconds: int) -> None:
    tenant = line.new_tenant()
    line.step(line.far, seconds)
    redis: Any = line.published.redis
    redis.zadd(PROCESSES, {"silent": time.time()})
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    revision = int(line.api.http.get(f"/v1/tenants/{tenant}").headers["etag"].strip('"'))

    def reported() -> bool:
        names = redis.keys(PROCESS_PREFIX + "*")
        return [Report.from_bytes(redis.get(name))["revision"] for name in names] == [revision] * 2

    wait_until(reported, "both have reported that they applied it")
    reported_at = dict(redis.zrange(PROCESSES, 0, -1, withscores=True))
    prefix = PROCESS_PREFIX.encode()
    processes = [b"silent", *(name.removeprefix(prefix) for name in redis.keys(PROCESS_PREFIX + "*"))]
    assert all(abs(reported_at[name] - time.time()) < HOUR / 2 for name in processes)
    assert len(line.api.http.get("/v1/fleet").json()["processes"]) == 2
