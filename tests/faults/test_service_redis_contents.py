"""Redis loses a part of what it has, may evict it, or has something else in its place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from corspolicy.sync.wire import EPOCH_FIELD, Keys
from tests.faults.line import NEW, OLD, Line
from tests.support import wait_until

KEYS = Keys()
LAST_ID = f"{2**64 - 1}-{2**64 - 1}"
FOREIGN: dict[str, list[tuple[Any, ...]]] = {
    "text in the term": [("SET", KEYS.term, "soon")],
    "a term of another type": [("DEL", KEYS.term), ("RPUSH", KEYS.term, "1")],
    "an epoch that is no UTF-8": [("SET", KEYS.epoch, b"\xff\xfe")],
    "an epoch of another type": [("DEL", KEYS.epoch), ("HSET", KEYS.epoch, "a", "b")],
    "documents of another type": [("SET", KEYS.documents, "all of them")],
    "changes of another type": [("SET", KEYS.changes, "none")],
    "the last possible id": [("XADD", KEYS.changes, LAST_ID, "tenant", "a")],
    "an identity of another type": [("SET", KEYS.identity, "me")],
    "an identity with text for numbers": [
        ("HSET", KEYS.identity, *(part for name in ("position", "writes", "seen", "revision") for part in (name, "²")))
    ],
    "an identity with numbers that are too high": [
        ("HSET", KEYS.identity, *(part for name in ("position", "seen", "revision") for part in (name, "9" * 30)))
    ],
    "processes of another type": [("SET", KEYS.processes, "many")],
}
_NESTED = b'{"denied":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@contextmanager
def _forged(line: Line, name: str, report: bytes) -> Iterator[None]:
    """A report that no client sends."""
    redis: Any = line.published.redis
    redis.set(KEYS.report(name), report, ex=60)
    redis.zadd(KEYS.processes, {name: time.time()})
    try:
        yield
    finally:
        redis.zrem(KEYS.processes, name)
        redis.delete(KEYS.report(name))


def _is_whole(line: Line) -> bool:
    redis: Any = line.published.redis
    epoch = redis.get(KEYS.epoch)
    return epoch is not None and redis.hget(KEYS.documents, EPOCH_FIELD) == epoch


@pytest.mark.parametrize("lost", ["all", "one", "epoch"])
def test_documents_that_are_lost_are_written_again(line: Line, lost: str) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    redis: Any = line.published.redis
    if lost == "all":
        redis.delete(KEYS.documents)
    elif lost == "one":
        redis.hdel(KEYS.documents, tenant)
    else:
        redis.hset(KEYS.documents, EPOCH_FIELD, "another")
    lost_at = time.monotonic()
    line.measure("documents lost, the epoch left", lambda: redis.hexists(KEYS.documents, tenant) and _is_whole(line))
    (client,) = line.start_clients(line.redis.url)
    line.recovers("documents lost, for one that starts then", tenant, OLD, client, keeping=other, since=lost_at)
    client.stop()
    line.follows()


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_of_its_form_is_written_again(line: Line, what: str) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    redis: Any = line.published.redis
    for command in FOREIGN[what]:
        redis.execute_command(*command)
    assert line.api.http.get("/v1/fleet").status_code in (200, 503)
    line.change(tenant)
    line.recovers(f"in Redis: {what}", tenant, keeping=other)
    line.follows()
    assert line.api.http.get("/v1/fleet").status_code == 200
    assert line.readiness()["publisher"] == "leading"
    assert line.readiness()["problems"] == []


@pytest.mark.parametrize(
    "report",
    [
        _NESTED,
        b"[" * 100_000,
        b"\xff",
        b'{"id": "x", "age": NaN, "lag": Infinity}',
        b'{"id": "\\ud800"}',
        b"9" * 10_000,
    ],
    ids=["nested", "unclosed", "no UTF-8", "NaN", "a lone surrogate", "a long number"],
)
def test_a_report_of_another_form_is_pending_and_hides_no_other(line: Line, report: bytes) -> None:
    tenant = line.new_tenant()
    with _forged(line, "forged", report):
        fleet = line.api.http.get("/v1/fleet")
        assert fleet.status_code == 200, fleet.text
        assert len(fleet.json()["processes"]) == len(line.clients)
        answer = line.api.http.put(
            f"/v1/tenants/{tenant}/policies/default",
            json={"allow_origins": [NEW]},
            headers={"If-Match": "*", "Prefer": "wait=1"},
            params={"confirm": "true"},
        )
        assert answer.status_code == 200, answer.text
        assert [process["id"] for process in answer.json()["propagation"]["pending"]["processes"]] == ["forged"]


@pytest.mark.parametrize("values", [{"cursor": "²-0"}, {"cursor": "1-²"}, {"age": "NaN"}, {"services": [["billing"]]}])
def test_a_report_with_a_value_of_another_form_is_no_error(line: Line, values: dict[str, Any]) -> None:
    redis: Any = line.published.redis
    wait_until(lambda: redis.zcard(KEYS.processes) > 1, "a process has reported")
    (name,) = (name for name in redis.zrange(KEYS.processes, 0, 0))
    report = json.loads(redis.get(KEYS.report(name.decode())))
    with _forged(line, "forged", json.dumps(report | values).replace('"NaN"', "NaN").encode()):
        assert line.api.http.get("/v1/fleet").status_code == 200


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_an_eviction_policy_is_told(line: Line, policy: str) -> None:
    redis: Any = line.published.redis
    redis.config_set("maxmemory-policy", policy)
    redis.config_set("maxmemory", "1gb")
    try:
        line.service.stop()
        line.restart_service()
        wait_until(lambda: line.readiness()["problems"], "it is told")
        (problem,) = line.readiness()["problems"]
        assert policy in problem
        assert "noeviction" in problem
    finally:
        redis.config_set("maxmemory", 0)
        redis.config_set("maxmemory-policy", "noeviction")
    line.service.stop()
    line.restart_service()
    line.follows()
    assert line.readiness()["problems"] == []


def test_a_user_without_info_publishes_and_knows_what_redis_has_lost(line: Line) -> None:
    tenant, other = line.new_tenant(), line.new_tenant()
    redis: Any = line.published.redis
    redis.execute_command("ACL", "SETUSER", "publisher", "reset", "on", ">secret", "~*", "+@all", "-info", "-client")
    line.service.stop()
    line.service, line.api = line.start_service(line.redis.url.replace("//", "//publisher:secret@"))
    line.change(tenant)
    line.wait_until_shown(tenant, NEW)
    redis.flushall()
    line.change(other)
    line.recovers("FLUSHALL, where the service may not INFO", other)
    line.service.stop()
    line.restart_service()
    line.follows()
