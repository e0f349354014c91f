"""`python -m tests.faults.summary FILE`: the median and the worst recovery from each fault, over all runs in a file.

Each run of `CORSPOLICY_TEST_RECOVERIES=FILE pytest tests/faults` appends to it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median


def rows(runs: list[dict[str, list[float]]]) -> list[str]:
    """A Markdown table, a fault a line in the order of the first run that met it."""
    faults = list(dict.fromkeys(fault for run in runs for fault in run))
    lines = ["| fault | median | worst | measured |", "|---|--:|--:|--:|"]
    for fault in faults:
        seconds = [each for run in runs for each in run.get(fault, ())]
        lines.append(f"| {fault} | {_shown(median(seconds))} | {_shown(max(seconds))} | {len(seconds)} |")
    return lines


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.9995 else f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.faults.summary FILE")
    print("\n".join(rows([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()])))
