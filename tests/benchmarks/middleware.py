"""What a request pays for CORS: Starlette's CORSMiddleware and ours around the same application; and what a hostile
request costs, beside what it costs to read its lines.

Each request's scope is new, as a server makes it, and only the call is timed. Peers take turns in short rounds, so
that a machine whose speed drifts slows all of them; medians over the rounds are compared.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from importlib.metadata import version
from typing import Any, NamedTuple

from starlette.middleware.cors import CORSMiddleware

from corspolicy import CORSPolicyMiddleware, TenantFromHost
from corspolicy.core.decision import Chain, decide
from corspolicy.testing import FixedPolicies

ROUNDS = 60
REQUESTS = 200
SIZES = (10, 1_000, 100_000)
# Starlette's list is searched from its start, so that its cost depends on where the origin stands.
DISTINCT_ORIGINS = 10
HOSTILE_LINES = 500_000

_Lines = list[tuple[bytes, bytes]]

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


def _cases(origins: list[str]) -> dict[str, tuple[str, list[_Lines]]]:
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


def _scope(method: str, extra: _Lines) -> dict[str, Any]:
    headers = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in [*_HEADERS, *extra]]
    return {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": headers}


class _Peer(NamedTuple):
    app: Any
    origins: list[str]
    """Those that it allows."""


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


def _hostile() -> dict[str, tuple[str, _Lines]]:
    """For each kind of hostile request, its method and its header lines."""
    origin, method = (b"origin", b"https://app.example.net"), (b"access-control-request-method", b"PUT")
    names = b"access-control-request-headers"
    return {
        "GET, Origin repeated": ("GET", [(b"origin", b"a")] * HOSTILE_LINES),
        "GET, other lines": ("GET", [origin, *[(b"x", b"a")] * HOSTILE_LINES]),
        "preflight, Origin repeated": ("OPTIONS", [*[(b"origin", b"a")] * HOSTILE_LINES, method]),
        "preflight, method repeated": ("OPTIONS", [*[method] * HOSTILE_LINES, origin]),
        "preflight, headers repeated": ("OPTIONS", [*[(names, b"a")] * HOSTILE_LINES, origin, method]),
        "64 KB in Origin": ("GET", [*_HEADERS, (b"origin", b"https://" + b"a" * 65_536)]),
        "64 KB in requested method": ("OPTIONS", [*_HEADERS, origin, (method[0], b"M" * 65_536)]),
        "64 KB in requested headers": ("OPTIONS", [*_HEADERS, origin, method, (names, b"a," * 32_768)]),
        "Origin of 120 labels": ("GET", [*_HEADERS, (b"origin", b"https://" + b"a." * 119 + b"example")]),
        "Origin of 3 labels": ("GET", [*_HEADERS, (b"origin", b"https://a.b.example")]),
    }


def _read(chain: Chain, method: str, lines: _Lines, now: float) -> int:
    """Look at each name and at each byte of each value, as whoever read the lines did before."""
    found = 0
    for name, value in lines:
        found += name == b"origin"
        found += value.isascii()
    return found


async def _measure_hostile() -> None:
    print(
        f"Hostile requests ({HOSTILE_LINES:,} lines where repeated), in µs: reading the lines, the decision, the ratio."
    )
    policy = {"allow_origins": ["https://*.example.com", "https://app.example.com", "https://pr-*.example.org"]}
    chain = await FixedPolicies({"acme": {"default": policy}}).chain("bench", "acme")
    for kind, (method, lines) in _hostile().items():
        taken = {}
        for name, call in (("read", _read), ("decide", decide)):
            rounds = 9 if len(lines) > len(_HEADERS) + 3 else 2_000
            best = math.inf
            for _ in range(rounds):
                # New lines, as a server makes them: Python remembers the hash of bytes.
                fresh = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in lines]
                start = time.perf_counter()
                call(chain, method, fresh, 0.0)
                best = min(best, time.perf_counter() - start)
            taken[name] = best * 1e6
        print(f"{kind:<28} {taken['read']:10.2f} {taken['decide']:10.2f} {taken['decide'] / taken['read']:6.2f}")


def main() -> None:
    """Print the tables."""
    asyncio.run(_measure())
    print()
    asyncio.run(_measure_hostile())
    print()
