"""`make bench`: every figure beside that of a named peer, measured in the same run."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks import (
    api,
    bulk,
    fan_out,
    footprint,
    hostile,
    large_policies,
    machine,
    many_tenants,
    middleware,
    propagation,
)
from tests.benchmarks.chart import chart
from tests.benchmarks.results import Result, table
from tests.support import ROOT

PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
_BLOCK = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which, by default all: {', '.join(_benchmarks())}")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks.json", help="where every round's figures go")
    parser.add_argument("--svg", type=Path, default=ROOT / "benchmarks.svg", help="where the chart goes")
    parser.add_argument("--docs", action="store_true", help="write the table and the chart into docs/ too")
    parser.add_argument("--tenants", type=int, default=many_tenants.TENANTS, help="of many_tenants")
    parser.add_argument("--bulk-tenants", type=int, default=bulk.TENANTS, help="of bulk")
    parser.add_argument("--seconds", type=float, default=10.0, help="of fan_out, for each load")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in _benchmarks()]:
        parser.error(f"no benchmark {', '.join(unknown)}: use {', '.join(_benchmarks())}")
    return arguments


def _benchmarks(
    tenants: int = many_tenants.TENANTS, bulk_tenants: int = bulk.TENANTS, seconds: float = 10.0
) -> dict[str, Callable[[], Iterator[Result]]]:
    """By name, in the order of the table."""
    return {
        "middleware": middleware.run,
        "hostile": hostile.run,
        "api": api.run,
        "large_policies": large_policies.run,
        "many_tenants": partial(many_tenants.run, tenants),
        "propagation": propagation.run,
        "fan_out": partial(fan_out.run, seconds),
        "bulk": partial(bulk.run, bulk_tenants),
        "footprint": footprint.run,
    }


def main() -> None:
    """Run what the arguments name; print the table, write the rest."""
    arguments = _arguments()
    benchmarks = _benchmarks(arguments.tenants, arguments.bulk_tenants, arguments.seconds)
    described, noise = machine.describe(), machine.Noise()
    results: dict[str, list[Result]] = {}
    noise.sample()
    for name in arguments.names or benchmarks:
        begin = time.monotonic()
        results[name] = list(benchmarks[name]())
        noise.sample()
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    shown = [result for each in results.values() for result in each]
    measured = noise.to_json()
    report = f"{machine.sentence(described, measured)}\n\n{table(shown)}\n"
    print(report)
    values = {name: [result.to_json() for result in each] for name, each in results.items()}
    arguments.json.write_text(json.dumps({"machine": described, "noise": measured, "results": values}, indent=1) + "\n")
    drawing = chart(shown)
    arguments.svg.write_text(drawing)
    if arguments.docs:
        CHART.write_text(drawing)
        PAGE.write_text(_BLOCK.sub(lambda _: report, PAGE.read_text(), count=1))


if __name__ == "__main__":
    main()
