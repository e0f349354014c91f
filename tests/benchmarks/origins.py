"""`python -m tests.benchmarks.origins`: who allows an origin, among 1,000,000 tenants of three origins each.

Beside each figure of the API stands the bare query of the same run; and what a write takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import psutil

from corspolicy.core.patterns import OriginPattern
from policy_service import migrate
from policy_service.origins.candidates import patterns_allowing
from tests import servers
from tests.conftest import Databases, admin_key
from tests.faults.line import Sql
from tests.service.helpers import driver_url
from tests.support import Api, Process, free_port, running

TENANTS = 1_000_000
ROUNDS = 200
LARGE = 10_000
# A tenth allow all that is under a domain of their own, and a hundredth the same origin, as a partner's would be.
_FILL = """
INSERT INTO tenants (slug, revision, document)
SELECT 'tenant-' || n, n, jsonb_build_object('name', '', 'policies', jsonb_build_object('default', jsonb_build_object(
    'allow_origins', jsonb_build_array(
        jsonb_build_object('id', 'a' || n, 'pattern', 'https://app' || n || '.example.com', 'created_by', 'bench',
            'created_at', '2026-01-01T00:00:00Z', 'note', NULL, 'expires_at', NULL),
        jsonb_build_object('id', 'b' || n, 'pattern', 'https://' || CASE WHEN n % 10 = 0 THEN '*.' ELSE 'www.' END
            || 'customer' || n || '.net', 'created_by', 'bench',
            'created_at', '2026-01-01T00:00:00Z', 'note', NULL, 'expires_at', NULL),
        jsonb_build_object('id', 'c' || n, 'pattern', CASE WHEN n % 100 = 0 THEN 'https://partner.example.org'
            ELSE 'https://pr-*--shop' || n || '.netlify.app' END, 'created_by', 'bench',
            'created_at', '2026-01-01T00:00:00Z', 'note', NULL, 'expires_at', NULL)))))
FROM generate_series(1, $1::int) AS n
"""
_BARE = """
SELECT pattern, tenant, policy, expires_at FROM allowed_patterns WHERE pattern = ANY($1::text[])
ORDER BY pattern, tenant, policy LIMIT 101
"""
_ORIGINS = {
    "exact": "https://app4711.example.com",
    "subdomain": "https://a.b.customer4710.net",
    "within a label": "https://pr-12--shop4711.netlify.app",
    "longest label": f"https://pr-{'9' * 50}--shop4711.netlify.app",
    "10,000 tenants, a page of 100": "https://partner.example.org",
    "nobody": "https://nobody.example.net",
}


def _milliseconds(call: Callable[[], Any], rounds: int = ROUNDS) -> str:
    call()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return f"median {statistics.median(taken):.1f} ms, p99 {sorted(taken)[int(0.99 * rounds)]:.1f} ms"


def _work(service: Process) -> float:
    """How many milliseconds of CPU the service has used: on a busy machine it can be blamed for no others."""
    used = psutil.Process(service.pid).cpu_times()
    return float(1000 * (used.user + used.system))


def _get(client: httpx.Client, path: str, **query: str) -> None:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text


def _write(api: Api, tenant: str) -> str:
    """Add origins to a policy of that tenant, one after the other."""
    numbers = iter(range(1_000_000))
    return _milliseconds(lambda: api.allow(tenant, f"https://new{next(numbers)}.example.com"), 20)


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        database_url = stack.enter_context(Databases(stack.enter_context(servers.postgres()))).create()
        sql = stack.enter_context(Sql(database_url))
        migrate.downgrade(driver_url(database_url), "0011-1")
        sql(_FILL, TENANTS)
        begin = time.monotonic()
        migrate.upgrade(driver_url(database_url))
        seconds = time.monotonic() - begin
        size = sql("SELECT pg_total_relation_size('allowed_patterns') / 2 ^ 20 AS size")
        print(f"the migration of {TENANTS:,} tenants took {seconds:.0f} s; the index takes {size[0][0]:.0f} MiB")
        environment = {
            "CORSPOLICY_DATABASE_URL": database_url,
            # None: a million documents on their way there would be in the way.
            "CORSPOLICY_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
            "CORSPOLICY_RATE_LIMIT_PER_SECOND": "100000",
            "CORSPOLICY_MAX_ENTRIES_PER_POLICY": "100000",
            "CORSPOLICY_MAX_DOCUMENT_BYTES": "8000000",
            "CORSPOLICY_MAX_BODY_BYTES": "8000000",
        }
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        api = Api(service.url, admin_key(database_url))
        stack.enter_context(api.http)
        client = stack.enter_context(httpx.Client(base_url=service.url, headers=api.http.headers))
        for what, origin in _ORIGINS.items():
            patterns = patterns_allowing(OriginPattern.parse(origin))
            work = _work(service)
            found = _milliseconds(partial(_get, client, "/v1/origins", origin=origin))
            work = (_work(service) - work) / (ROUNDS + 1)
            bare = _milliseconds(partial(sql, _BARE, patterns))
            print(
                f"{what} ({len(patterns):,} patterns): {found}, {work:.1f} ms of CPU in the service; bare query: {bare}"
            )
        work = _work(service)
        read = _milliseconds(partial(_get, client, "/v1/tenants/tenant-4711"))
        print(f"one tenant by its name: {read}, {(_work(service) - work) / (ROUNDS + 1):.1f} ms of CPU in the service")
        small, large = api.new_tenant(), api.new_tenant()
        origins = [f"https://app{number}.example.com" for number in range(LARGE)]
        assert api.put_policy(large, {"allow_origins": origins}).is_success
        print(f"adding an origin: {_write(api, small)}; to a policy of {LARGE:,}: {_write(api, large)}")


if __name__ == "__main__":
    main()
