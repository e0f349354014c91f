"""What it costs to have a client: to import it and make one, beside clients of feature flag services."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.benchmarks.results import Result
from tests.support import ROOT

ROUNDS = 7
MEBIBYTE = 2**20


class _Client(NamedTuple):
    distribution: str
    code: str
    """Makes a client that is not connected."""


OURS = _Client(
    "corspolicy",
    "from corspolicy import CORSPolicyMiddleware, Policies; Policies('redis://localhost:6379/0')",
)
PEERS = (
    _Client(
        "UnleashClient",
        "from UnleashClient import UnleashClient; UnleashClient('http://localhost:4242/api', 'bench')",
    ),
    _Client(
        "launchdarkly-server-sdk",
        "import ldclient; from ldclient.config import Config; ldclient.LDClient(Config('sdk-key', offline=True))",
    ),
)

_MEASURE = """
import json, resource, sys, time
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, begin, modules = rss(), time.perf_counter(), len(sys.modules)
{code}
print(json.dumps([(time.perf_counter() - begin) * 1000, rss() - before, len(sys.modules) - modules]))
"""


def _measure(client: _Client) -> tuple[float, float, float]:
    """In a new process: milliseconds, bytes of memory, modules."""
    command = [sys.executable, "-c", _MEASURE.format(code=client.code)]
    answer = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    milliseconds, memory, modules = json.loads(answer.stdout)
    return milliseconds, memory / MEBIBYTE, modules


def _packages(distribution: str) -> set[str]:
    """The names of all packages that installing one brings, itself included."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        requirements = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [
            needed.name for needed in requirements if not needed.marker or needed.marker.evaluate({"extra": ""})
        ]
    return found


def run() -> Iterator[Result]:
    """Time, memory and packages of each."""
    clients = (OURS, *PEERS)
    rounds = [[_measure(client) for client in clients] for _ in range(ROUNDS)]
    for peer, client in enumerate(PEERS, 1):
        for index, (name, unit) in enumerate((("import and construct", "ms"), ("memory", "MiB"), ("modules", ""))):
            ours, theirs = ([measured[which][index] for measured in rounds] for which in (0, peer))
            yield Result(f"client, {name}", unit, ours, client.distribution, theirs)
        counts = [float(len(_packages(each.distribution))) for each in (OURS, client)]
        yield Result("client, packages installed", "", counts[:1], client.distribution, counts[1:])
