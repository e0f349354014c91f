"""Which machine a run was on, and how noisy it was meanwhile."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import redis

from tests import servers

LOOP = 200_000
LOOPS = 20


def describe() -> dict[str, Any]:
    """The processor, its cores, memory, and the versions of what runs on it."""
    with servers.postgres() as postgres_url, servers.redis() as redis_url, redis.Redis.from_url(redis_url) as client:
        # Its type says that it might be awaitable.
        info: Any = client.info("server")
        return {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "postgresql": asyncio.run(_postgres_version(postgres_url)),
            "redis": info["redis_version"],
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        version: str = await connection.fetchval("SHOW server_version")
        return version
    finally:
        await connection.close()


class Noise:
    """How long the same loop takes, again and again; and how much of the machine others took while it ran."""

    def __init__(self) -> None:
        self._taken: list[float] = []
        self._begin = psutil.cpu_times()

    def sample(self) -> None:
        """Run the loop some times. Call it when nothing else of the run is at work."""
        for _ in range(LOOPS):
            begin = time.perf_counter()
            total = 0
            for number in range(LOOP):
                total += number
            self._taken.append((time.perf_counter() - begin) * 1000)

    def to_json(self) -> dict[str, Any]:
        """Milliseconds of the loop, and the share of the processors that the hypervisor gave to others."""
        ordered = sorted(self._taken)
        now = psutil.cpu_times()
        passed = sum(now) - sum(self._begin)
        return {
            "loop_ms": statistics.median(ordered),
            "loop_p5_ms": ordered[len(ordered) // 20],
            "loop_p95_ms": ordered[len(ordered) * 19 // 20],
            "steal": (getattr(now, "steal", 0.0) - getattr(self._begin, "steal", 0.0)) / passed if passed else 0.0,
        }


def sentence(machine: dict[str, Any], noise: dict[str, Any]) -> str:
    """Both, for people."""
    spread = (noise["loop_p95_ms"] - noise["loop_p5_ms"]) / noise["loop_ms"]
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, PostgreSQL {machine['postgresql']}, "
        f"Redis {machine['redis']}.\n"
        f"Noise: a fixed loop took {noise['loop_ms']:.1f} ms, from {noise['loop_p5_ms']:.1f} to "
        f"{noise['loop_p95_ms']:.1f} ms in 90% of its runs ({spread:.0%}); "
        f"{noise['steal']:.1%} of the processors went to other guests."
    )
