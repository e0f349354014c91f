"""What a request pays for CORS: Starlette's CORSMiddleware and ours around the same application.

Each request's scope is made afresh, as a server would, and only the call is timed. Peers take turns in short rounds, so
that a machine whose speed drifts slows all of them; medians over the rounds are compared.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from importlib.metadata import version
from typing import Any, NamedTuple

from starlette.middleware.cors import CORSMiddleware

from corspolicy import CORSPolicyMiddleware, TenantFromHost
from corspolicy.testing import FixedPolicies

ROUNDS = 60
REQUESTS = 200
SIZES = (10, 1_000, 100_000)
# Starlette's list is searched from its start, so that its cost depends on where the origin stands.
DISTINCT_ORIGINS = 10

_HEADERS = [
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


def _cases(origins: list[str]) -> dict[str, tuple[str, list[list[tuple[bytes, bytes]]]]]:
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


def _scope(method: str, extra: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    headers = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in [*_HEADERS, *extra]]
    return {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": headers}


class _Peer(NamedTuple):
    app: Any
    origins: list[str]
    """Those that it admits."""


async def _microseconds(peers: dict[str, _Peer], kind: str) -> dict[str, float]:
    """The median time of a request of that kind to each peer."""
    cases = {name: _cases(peer.origins)[kind] for name, peer in peers.items()}
    taken: dict[str, list[float]] = {name: [] for name in peers}
    clock = time.perf_counter
    for _ in range(ROUNDS):
        for name, peer in peers.items():
            method, extras = cases[name]
            total = 0.0
            for index in range(REQUESTS):
                scope = _scope(method, extras[index % len(extras)])
                start = clock()
                await peer.app(scope, _receive, _send)
                total += clock() - start
            taken[name].append(total / REQUESTS * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


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
    if size <= 1_000:
        apps["starlette"] = CORSMiddleware(_app, **policy)  # type: ignore[arg-type]
    return {name: _Peer(app, origins) for name, app in apps.items()}


async def _measure() -> None:
    print(f"Added cost per request, in µs: Starlette {version('starlette')}'s CORSMiddleware with a list, and ours.")
    print(f"{'origins':>8}  {'request':<10} {'Starlette':>10} {'ours':>7} {'ratio':>6} {'ours, tenant from host':>23}")
    smallest = _peers(SIZES[0])["ours"]
    for size in SIZES:
        peers = _peers(size)
        for kind in _cases(smallest.origins):
            # A preflight is answered without the app, so that all of its time is added.
            bare = _Peer(_nothing if kind == "preflight" else _app, smallest.origins)
            times = await _microseconds({"bare": bare, "smallest": smallest, **peers}, kind)
            added = {peer: spent - times["bare"] for peer, spent in times.items()}
            theirs = f"{added['starlette']:10.2f}" if "starlette" in added else f"{'':>10}"
            ratio = f"{added['ours'] / added['starlette']:6.2f}" if "starlette" in added else f"{'':>6}"
            note = "" if size == SIZES[0] else f"   {added['ours'] / added['smallest']:.2f} times that with {SIZES[0]}"
            print(f"{size:>8}  {kind:<10} {theirs} {added['ours']:7.2f} {ratio} {added['host']:23.2f}{note}")


def main() -> None:
    """Print the table."""
    asyncio.run(_measure())
    print()
