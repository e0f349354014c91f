"""Random requests to every route of the OpenAPI document: none is an error of the service."""

from __future__ import annotations

import random
from typing import Any

from tests.service.helpers import Operation, problem, raw
from tests.support import Api, wait_until

ROUNDS = 400
SEED = 9457

SEGMENTS = [
    "platform", "default", "billing", "%00", "%ff", "..", "%2e%2e", "%2F", "%252F", "a" * 300, "%F0%9F%A6%80",
    "%ED%A0%80", "%20", "*", "~", "%0d%0a", "'", ";", "null", "-1", "%C3%BC", "%", "{tenant}", "0", "A", "a.b_c",
    "x" * 63, "x" * 64,
]  # fmt: skip
ATOMS: list[Any] = [
    None, True, False, 0, -1, 600, 86401, 2**63, 10**30, 1e308, -0.0, "", "*", "null", "\0", "\ud800", "a" * 600,
    "https://a.com", "https://*.a.com:*", "https://é.example", "http://[::1]", "PUT", "patch", "x-token", "acme", "/~",
    "2099-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "[" * 50, "\u202e", "GET / HTTP/1.1\nOrigin: https://a.com", "> :\n>", "GET / HTTP/2\n\ud800: x",
]  # fmt: skip
NAMES = [
    "tenant", "name", "allow_origins", "allow_credentials", "allow_methods", "allow_headers", "expose_headers",
    "max_age", "pattern", "note", "expires_at", "id", "created_by", "created_at", "service", "method", "headers",
    "Origin", "", "\udfff", "request", "revision", "draft", "at",
]  # fmt: skip
TAGS = ["*", "", '"1"', 'W/"1"', ",,,", '"' * 50, "0", "x" * 5000]
PREFERENCES = ["wait=1", "wait=0, wait=1", "wait", 'wait="', "=", ";;,"]
QUERIES = [
    "",
    "",
    "",
    "?limit=1",
    "?limit=-1",
    "?limit=1&limit=x",
    "?cursor=%00",
    "?cursor=%ff&limit=2",
    "?cursor=",
    "?x=%",
]


def test_random_requests_to_every_route_are_never_an_error_of_the_service(
    api: Api, operations: list[Operation]
) -> None:
    chance = random.Random(SEED)
    tenant = entry = ""
    for number in range(ROUNDS):
        if number % 20 == 0:
            tenant = api.new_tenant()
            entry = api.allow(tenant, "https://a.example.com")["id"]
        method, path, example, _ = operations[number % len(operations)]
        known = {"{tenant}": tenant, "{service}": "default", "{entry}": entry, "{revision}": "1"}
        for name, value in known.items():
            path = path.replace(name, value if chance.random() < 0.7 else chance.choice(SEGMENTS))
        body = _mutated(chance, example) if example is not None and chance.random() < 0.6 else _random(chance, 4)
        headers = {"If-Match": "*" if chance.random() < 0.6 else chance.choice(TAGS)}
        if chance.random() < 0.1:
            headers["Prefer"] = chance.choice(PREFERENCES)
        content = None if method in ("GET", "DELETE") else raw(body)
        answer = api.http.request(method, path + chance.choice(QUERIES), content=content, headers=headers)
        assert answer.status_code < 500, (method, path, body, headers, answer.text)
        if answer.status_code >= 400:
            problem(answer, answer.status_code)
    # Nothing that was accepted keeps what was accepted after it from being published.
    wait_until(lambda: api.http.get("/readyz").json()["unpublished"] == 0, "everything is published")


def _random(chance: random.Random, depth: int) -> Any:
    kind = chance.random() if depth else 0
    if kind < 0.4:
        return chance.choice(ATOMS)
    if kind < 0.6:
        return [_random(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(NAMES): _random(chance, depth - 1) for _ in range(chance.randrange(5))}


def _mutated(chance: random.Random, value: Any) -> Any:
    """That value, with something in it replaced or added."""
    if chance.random() < 0.2:
        return _random(chance, 2)
    if isinstance(value, dict):
        changed = {name: _mutated(chance, part) if chance.random() < 0.4 else part for name, part in value.items()}
        return changed if chance.random() < 0.7 else {**changed, chance.choice(NAMES): _random(chance, 2)}
    if isinstance(value, list):
        return [_mutated(chance, part) for part in value] + [_random(chance, 2)] * chance.randrange(2)
    return value
