"""`python -m tests.benchmarks.load`: how long a revocation takes beside every kind of request that one key can make."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

from tests import servers
from tests.conftest import Databases, admin_key
from tests.service.helpers import new_key, write_policies
from tests.support import Api, Process, may_read, running, wait_until

ORIGIN = "https://app.example.com"
REVOCATIONS = 6
CONNECTIONS = 3
"""For each kind of request."""

SHAPES = [
    f"https://{'a' * before}*{'a' * (60 - before - short)}.example.com" for short in range(20) for before in range(40)
]
LARGE = {
    "allow_origins": [*SHAPES, *(f"https://{'a' * 61}{index % 10}.example.com:{1024 + index}" for index in range(200))]
}
PLAIN = {"allow_origins": [f"https://a{index}.example.com:{1024 + index}" for index in range(1000)]}
TOO_MANY = {"allow_origins": [f"https://a{index}.example.com" for index in range(33_000)]}
SEPARATORS = {"allow_origins": ["a, " * 340_000]}
HAR = {"log": {"entries": [{"request": {"method": "GET", "url": "https://a.example/", "headers": []}}] * 11_000}}


class Asked(NamedTuple):
    """A kind of request that a key may send as often as its bucket allows."""

    method: str
    path: str
    bodies: tuple[bytes, ...] = (b"",)


def _decision(**values: object) -> tuple[bytes, ...]:
    return (json.dumps({"tenant": "noisy", **values}).encode(),)


def _kinds() -> list[Asked]:
    origin = {"Origin": "https://zzz.example.com:1"}
    policy = "/v1/tenants/noisy/policies/default"
    return [
        Asked("POST", "/v1/decisions", _decision(headers=origin, draft=LARGE)),
        Asked("POST", "/v1/decisions", _decision(headers=origin, draft=TOO_MANY)),
        Asked("POST", "/v1/decisions", _decision(headers=origin, draft=SEPARATORS)),
        Asked("POST", "/v1/decisions", _decision(headers=origin, service="s1")),
        Asked("POST", "/v1/decisions", _decision(request=json.dumps(HAR)[:999_000])),
        Asked("PUT", policy, (json.dumps(LARGE).encode(), json.dumps(PLAIN).encode())),
        Asked("PUT", policy, (json.dumps(TOO_MANY).encode(),)),
        Asked("GET", "/v1/tenants?include=policies"),
        Asked("GET", "/v1/tenants/noisy/changes?limit=500"),
        Asked("GET", policy + "/origins?limit=500"),
        Asked("GET", "/v1/tenants?" + "&".join(f"wrong{index}=1" for index in range(500))),
    ]


@contextmanager
def _load(service: Process, key: str, counts: Counter[int]) -> Iterator[None]:
    """Every kind of request, on several connections each, one after the other without a pause."""
    is_over = threading.Event()
    address = urlsplit(service.url).netloc
    headers = {"Authorization": f"Bearer {key}", "If-Match": "*"}

    def ask(kind: Asked) -> None:
        connection = stack.enter_context(closing(http.client.HTTPConnection(address, timeout=60)))
        separator = "&" if "?" in kind.path else "?"
        path = kind.path + (f"{separator}confirm=true" if kind.method == "PUT" else "")
        for body in cycle(kind.bodies):
            if is_over.is_set():
                break
            connection.request(kind.method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            counts[answer.status] += 1
            if answer.status == 429:
                # As a client at its full rate does, though sooner than it is told to.
                is_over.wait(0.05)

    kinds = [kind for kind in _kinds() for _ in range(CONNECTIONS)]
    with ExitStack() as stack, ThreadPoolExecutor(len(kinds)) as threads:
        asking = [threads.submit(ask, kind) for kind in kinds]
        try:
            yield
        finally:
            is_over.set()
        for each in asking:
            each.result()


def main() -> None:
    """Print the figures: until the deletion is answered, and until the header is gone."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis())
        database_url = stack.enter_context(Databases(stack.enter_context(servers.postgres()))).create()
        environment = {"CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
        service = stack.enter_context(running("policy_service.app:create_app", environment))
        client_environment = {"CORSPOLICY_REDIS_URL": redis_url, "TEST_TENANT_FROM": "path"}
        client = stack.enter_context(running("tests.chain.apps:billing", client_environment))
        api = Api(service.url, admin_key(database_url))
        stack.enter_context(api.http)
        assert api.http.post("/v1/tenants", json={"tenant": "noisy"}).status_code == 201
        write_policies(api, "noisy", {f"s{index}": PLAIN for index in range(3)} | {"default": LARGE})
        noisy = new_key(api, role="tenant", tenants=["noisy"], may_write=True)["key"]
        tenant = api.new_tenant()
        _revoke(api, tenant, f"{client.url}/t/{tenant}", "alone")
        counts: Counter[int] = Counter()
        with _load(service, noisy, counts):
            wait_until(lambda: counts.total() > 100, "the load is on", 60)
            _revoke(api, tenant, f"{client.url}/t/{tenant}", "beside the load")
        print(f"the load's responses by status: {dict(counts)}")


def _revoke(api: Api, tenant: str, url: str, when: str) -> None:
    answered, gone = [], []
    for _ in range(REVOCATIONS):
        entry = api.allow(tenant, ORIGIN)["id"]
        wait_until(partial(may_read, url, ORIGIN), "the origin is allowed")
        began_at = time.monotonic()
        api.remove(tenant, entry)
        answered.append(time.monotonic() - began_at)
        wait_until(lambda: not may_read(url, ORIGIN), "the origin is not allowed")
        gone.append(time.monotonic() - began_at)
    print(
        f"{when}: a revocation is answered within {max(answered):.2f} s and applied within {max(gone):.2f} s, "
        f"at most, of {REVOCATIONS}"
    )


if __name__ == "__main__":
    main()
