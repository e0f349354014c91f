"""Many tenants at once by the command line: a first `apply`, one without changes, `export`; beside bare SQL."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import yaml

from tests.benchmarks.deployment import ORIGINS, Deployment, deployment
from tests.benchmarks.results import Result, at_least
from tests.support import ROOT

TENANTS = 500
BATCH = 1_000
# 100,000 tenants in 60 seconds, and in 20 where nothing changes.
APPLY_PER_SECOND = 1_667
UNCHANGED_PER_SECOND = 5_000


def _write(folder: Path, tenants: int) -> None:
    for number in range(tenants):
        origins = [*ORIGINS[:2], f"https://app.t{number}.example.com"]
        values = {"tenant": f"t{number}", "policies": {"default": {"allow_origins": origins}}}
        (folder / f"t{number}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _seconds(at: Deployment, *arguments: str) -> float:
    environment = {**os.environ, "CORSPOLICY_URL": at.service.url, "CORSPOLICY_API_KEY": at.key}
    command = [str(Path(sys.executable).with_name("corspolicy")), *arguments]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - begin


async def _bare(at: Deployment) -> tuple[float, float]:
    """Seconds to insert the same tenants with their changes in batches, and to read them again."""
    source, bare = await asyncpg.connect(at.database_url), await asyncpg.connect(at.bare_database_url)
    rows = [tuple(row) for row in await source.fetch("SELECT slug, document::text FROM tenants WHERE slug LIKE 't%'")]
    begin = time.monotonic()
    for first in range(0, len(rows), BATCH):
        async with bare.transaction():
            await bare.executemany(
                "WITH made AS (INSERT INTO tenants (slug, revision, document)"
                " VALUES ($1, nextval('revisions'), $2::jsonb) RETURNING *)"
                " INSERT INTO changes (revision, tenant, actor, action, difference, after)"
                " SELECT revision, slug, 'bench', 'tenant.create', '[]'::jsonb, document FROM made",
                rows[first : first + BATCH],
            )
    inserted = time.monotonic()
    await bare.fetch("SELECT slug, revision, document FROM tenants")
    read = time.monotonic()
    await source.close()
    await bare.close()
    return inserted - begin, read - inserted


def run(tenants: int = TENANTS) -> Iterator[Result]:
    """Tenants a second."""
    with deployment() as at, tempfile.TemporaryDirectory(prefix="corspolicy-") as folder:
        _write(Path(folder), tenants)
        seconds = {
            "apply": _seconds(at, "apply", "--yes", "--file", folder),
            "apply without changes": _seconds(at, "apply", "--yes", "--file", folder),
            "export": _seconds(at, "export", "--file", folder),
        }
        written, read = asyncio.run(_bare(at))
    targets = {"apply": at_least(APPLY_PER_SECOND), "apply without changes": at_least(UNCHANGED_PER_SECOND)}
    peers = {"apply": ("bare INSERT, batched", written)}
    for name, taken in seconds.items():
        peer, theirs = peers.get(name, ("bare SELECT", read))
        yield Result(
            f"{name}, {tenants:,} tenants", "/s", [tenants / taken], peer, [tenants / theirs], targets.get(name)
        )
