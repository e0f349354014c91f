"""One random run: writes and faults drawn from a seed, while every client is asked for headers all the time.

Every round ends with everything healed. Then every client has to hold just what is committed, and until the next round
ends so, it may allow that and what is written from then on, and nothing else. A removal with `Prefer: wait` says more:
once it was answered `complete: true`, no request anywhere is allowed by the removed origin.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.line import Line
from tests.faults.plan import plan
from tests.faults.postgres import Postgres
from tests.faults.run import TENANTS, Run

pytestmark = pytest.mark.usefixtures("postgres")

# No round begins later than this after the first; each takes some seconds.
SECONDS = 25.0
# Of four clients at once, a hundred times a second: what leaves most of the machine to the other tests.
BATCH = 20


def test_random_writes_and_faults(
    line: Line, postgres: Postgres, seed: int, tmp_path: Path, checked: Callable[[str], None]
) -> None:
    print(f"The plan of this run comes from the seed {seed}; CORSPOLICY_TEST_SEED={seed} repeats it.")
    seconds = float(os.environ.get("CORSPOLICY_TEST_SECONDS") or SECONDS)
    with ExitStack() as stack:
        run = Run(line, postgres, stack, tmp_path, BATCH)
        with run.watched():
            begin = time.monotonic()
            for number, round_ in enumerate(plan(seed, TENANTS)):
                if time.monotonic() > begin + seconds:
                    break
                run.log(f"round {number + 1}")
                run.round(round_)
        checked(f"{run.requests} requests, {run.receipts[True]} complete receipts, {run.receipts[False]} others")
