"""Whatever one key asks for, another key's revocation reaches the headers at once."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.conftest import admin_key
from tests.service.helpers import new_key, write_policies
from tests.support import Api, Process, may_read, running, wait_until

ORIGIN = "https://app.example.com"
REVOCATIONS = 6
WITHIN_SECONDS = 0.5
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


@pytest.fixture
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    with servers.redis() as redis_url:
        environment = {"CORSPOLICY_DATABASE_URL": new_database(), "CORSPOLICY_REDIS_URL": redis_url}
        with running("policy_service.app:create_app", environment) as process:
            yield process


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


def test_a_revocation_is_not_delayed_by_what_another_key_asks_for(service: Process) -> None:
    environment = {"CORSPOLICY_REDIS_URL": service.environment["CORSPOLICY_REDIS_URL"], "TEST_TENANT_FROM": "path"}
    api = Api(service.url, admin_key(service.environment["CORSPOLICY_DATABASE_URL"]))
    with api.http, running("tests.chain.apps:billing", environment) as client:
        assert api.http.post("/v1/tenants", json={"tenant": "noisy"}).status_code == 201
        write_policies(api, "noisy", {f"s{index}": PLAIN for index in range(10)} | {"default": LARGE})
        noisy = new_key(api, role="tenant", tenants=["noisy"], may_write=True)["key"]
        tenant = api.new_tenant()
        url = f"{client.url}/t/{tenant}"
        counts: Counter[int] = Counter()
        took = []
        with _load(service, noisy, counts):
            wait_until(lambda: counts.total() > 100, "the load is on", 60)
            for _ in range(REVOCATIONS):
                entry = api.allow(tenant, ORIGIN)["id"]
                wait_until(lambda: may_read(url, ORIGIN), "the origin is allowed")
                began_at = time.monotonic()
                api.remove(tenant, entry)
                wait_until(lambda: not may_read(url, ORIGIN), "the origin is not allowed")
                took.append(time.monotonic() - began_at)
        print(f"{[round(each, 3) for each in took]} s beside {dict(counts)}")
        assert set(counts) <= {200, 422, 429}
        assert max(took) < WITHIN_SECONDS
