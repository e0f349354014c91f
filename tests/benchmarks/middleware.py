"""What a request pays for CORS: Starlette's CORSMiddleware, asgi-cors and ours around the same application.

Each request's scope is new, as a server makes it, and only the call is timed. Peers take turns in short rounds, so
that a machine whose speed drifts slows all of them; medians are compared.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from asgi_cors import asgi_cors
from starlette.middleware.cors import CORSMiddleware

from corspolicy import CORSPolicyMiddleware, TenantFromHost
from corspolicy.testing import FixedPolicies
from tests.benchmarks.results import Result, times_at_most

ROUNDS = 60
REQUESTS = 200
# How many origins, and the most of Starlette's added cost.
SIZES = {10: 0.25, 1_000: 0.125, 100_000: None}
# Starlette's list is searched from its start, so that its cost depends on where the origin stands.
DISTINCT_ORIGINS = 10

Lines = list[tuple[bytes, bytes]]

HEADERS = [
    (b"host", b"acme.api.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://app5.example.com/"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"cross-site"),
    (b"connection", b"keep-alive"),
]


async def _app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def _receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def _send(message: Any) -> None:
    pass


def _cases(origins: list[str]) -> dict[str, tuple[str, list[Lines]]]:
    """For each kind of request: its method, and the extra header lines of several such requests."""
    step = max(1, len(origins) // DISTINCT_ORIGINS)
    listed = [origin.encode() for origin in origins[step // 2 :: step]]
    requested = [(b"access-control-request-method", b"PUT"), (b"access-control-request-headers", b"content-type")]
    return {
        "no Origin": ("GET", [[]]),
        "allowed": ("GET", [[(b"origin", origin)] for origin in listed]),
        "denied": ("GET", [[(b"origin", b"https://app5.example.net")]]),
        "preflight": ("OPTIONS", [[(b"origin", origin), *requested] for origin in listed]),
    }


def _scope(method: str, extra: Lines) -> dict[str, Any]:
    headers = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in [*HEADERS, *extra]]
    return {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": headers}


class _Peer(NamedTuple):
    app: Any
    origins: list[str]
    """Those that it allows."""


async def _microseconds(peers: dict[str, _Peer], kind: str) -> dict[str, list[float]]:
    """The time of a request of that kind to each peer, in each round."""
    cases = {name: _cases(peer.origins)[kind] for name, peer in peers.items()}
    taken: dict[str, list[float]] = {name: [] for name in peers}
    clock = time.perf_counter
    for _ in range(ROUNDS):
        for name, peer in peers.items():
            method, extras = cases[name]
            times = []
            for index in range(REQUESTS):
                scope = _scope(method, extras[index % len(extras)])
                start = clock()
                await peer.app(scope, _receive, _send)
                times.append(clock() - start)
            # Not the mean: one request in which the process lost its turn would say more than all others.
            taken[name].append(statistics.median(times) * 1e6)
    return taken


def _peers(size: int) -> dict[str, _Peer]:
    origins = [f"https://app{index}.example.com" for index in range(size)]
    policy = {
        "allow_origins": origins,
        "allow_credentials": True,
        "allow_methods": ["PUT"],
        "allow_headers": ["content-type"],
        "max_age": 600,
    }
    policies = FixedPolicies({"acme": {"default": policy}})
    host = TenantFromHost("{tenant}.api.example.com")
    apps: dict[str, Any] = {
        "ours": CORSPolicyMiddleware(_app, service="bench", tenant="acme", policies=policies),
        "host": CORSPolicyMiddleware(_app, service="bench", tenant=host, policies=policies),
    }
    # With more, Starlette would search its list for most of the run.
    if size <= 1_000:
        apps["asgi-cors"] = asgi_cors(_app, hosts=origins)
        apps["Starlette"] = CORSMiddleware(_app, **policy)  # type: ignore[arg-type]
    return {name: _Peer(app, origins) for name, app in apps.items()}


async def _measure(size: int, share: float | None) -> list[Result]:
    results = []
    peers, smallest = _peers(size), _peers(min(SIZES))["ours"]
    for kind in _cases(smallest.origins):
        is_preflight = kind == "preflight"
        # A preflight is answered without the app, so that all of its time is added.
        bare = _Peer(_nothing if is_preflight else _app, smallest.origins)
        # asgi-cors leaves preflights to the app.
        shown = {name: peer for name, peer in peers.items() if not (is_preflight and name == "asgi-cors")}
        times = await _microseconds({"bare": bare, "smallest": smallest, **shown}, kind)
        added = {
            name: [spent - without for spent, without in zip(times[name], times["bare"], strict=True)] for name in times
        }
        name, ours = f"{kind}, {size:,} origins", added["ours"]
        target = None if share is None else times_at_most(share)
        if "Starlette" in added:
            results.append(Result(name, "µs", ours, "Starlette", added["Starlette"], target))
        if "asgi-cors" in added:
            results.append(Result(name, "µs", ours, "asgi-cors", added["asgi-cors"]))
        if size > min(SIZES):
            results.append(Result(name, "µs", ours, f"ours, {min(SIZES)} origins", added["smallest"]))
        else:
            results.append(Result(f"{name}, tenant from host", "µs", added["host"], "fixed tenant", ours))
    return results


def run() -> Iterator[Result]:
    """The time that each adds to a request."""
    for size, share in SIZES.items():
        yield from asyncio.run(_measure(size, share))
