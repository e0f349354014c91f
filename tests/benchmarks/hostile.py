"""What a hostile request costs to decide on, beside what it costs to read its header lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from corspolicy.core.decision import Chain, decide
from corspolicy.testing import FixedPolicies
from tests.benchmarks.middleware import HEADERS, Lines
from tests.benchmarks.results import Result

LINES = 500_000
ROUNDS = {True: 3, False: 2_000}
"""For a request of very many lines, and for one of few."""


def _requests() -> dict[str, tuple[str, Lines]]:
    """For each kind of hostile request, its method and its header lines."""
    origin, method = (b"origin", b"https://app.example.net"), (b"access-control-request-method", b"PUT")
    names = b"access-control-request-headers"
    return {
        "GET, Origin repeated": ("GET", [(b"origin", b"a")] * LINES),
        "GET, other lines": ("GET", [origin, *[(b"x", b"a")] * LINES]),
        "preflight, Origin repeated": ("OPTIONS", [*[(b"origin", b"a")] * LINES, method]),
        "preflight, method repeated": ("OPTIONS", [*[method] * LINES, origin]),
        "preflight, headers repeated": ("OPTIONS", [*[(names, b"a")] * LINES, origin, method]),
        "64 KB in Origin": ("GET", [*HEADERS, (b"origin", b"https://" + b"a" * 65_536)]),
        "64 KB in requested method": ("OPTIONS", [*HEADERS, origin, (method[0], b"M" * 65_536)]),
        "64 KB in requested headers": ("OPTIONS", [*HEADERS, origin, method, (names, b"a," * 32_768)]),
        "Origin of 120 labels": ("GET", [*HEADERS, (b"origin", b"https://" + b"a." * 119 + b"example")]),
        "Origin of 3 labels": ("GET", [*HEADERS, (b"origin", b"https://a.b.example")]),
    }


def _read(chain: Chain, method: str, lines: Lines, now: float) -> int:
    """Look at each name and at each byte of each value, as whoever read the lines did before."""
    found = 0
    for name, value in lines:
        found += name == b"origin"
        found += value.isascii()
    return found


async def _measure() -> list[Result]:
    policy = {"allow_origins": ["https://*.example.com", "https://app.example.com", "https://pr-*.example.org"]}
    chain = await FixedPolicies({"acme": {"default": policy}}).chain("bench", "acme")
    results = []
    for kind, (method, lines) in _requests().items():
        taken: dict[str, list[float]] = {"read": [], "decide": []}
        for _ in range(ROUNDS[len(lines) >= LINES]):
            for name, call in (("read", _read), ("decide", decide)):
                # New lines, as a server makes them: Python remembers the hash of bytes.
                fresh = [(bytes(bytearray(header)), bytes(bytearray(value))) for header, value in lines]
                begin = time.perf_counter()
                call(chain, method, fresh, 0.0)
                taken[name].append((time.perf_counter() - begin) * 1e6)
        results.append(Result(f"hostile: {kind}", "µs", taken["decide"], "reading the lines", taken["read"]))
    return results


def run() -> Iterator[Result]:
    """The time of a decision on each kind of request."""
    yield from asyncio.run(_measure())
