"""The table of recoveries that a run prints at its end, whichever processes ran the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from typing import Any

import pytest

RECOVERY = "recovery"
SEED = "seed"
CHECKED = "checked"
FILE_VARIABLE = "CORSPOLICY_TEST_RECOVERIES"
"""Names a file to which a run appends what it measured: one JSON object of seconds by fault."""


class RecoveryTable:
    """A plugin of pytest: collects what tests noted as their properties.

    `recovery` is a fault and seconds, `seed` what a random run was drawn from, and `checked` what it checked.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._seeds: list[int] = []
        self._checked: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            properties: list[tuple[str, Any]] = report.user_properties
            for fault, seconds in [value for name, value in properties if name == RECOVERY]:
                self._seconds.setdefault(fault, []).append(seconds)
            self._seeds += [value for name, value in properties if name == SEED]
            self._checked += [value for name, value in properties if name == CHECKED]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for seed in self._seeds:
            terminalreporter.write_line(f"random faults: seed {seed}; CORSPOLICY_TEST_SEED={seed} repeats that run")
        for checked in self._checked:
            terminalreporter.write_line(f"random faults: {checked}")
        if not self._seconds:
            return
        # A worker of xdist sees a part of what the whole run sees.
        if (path := os.environ.get(FILE_VARIABLE)) and "PYTEST_XDIST_WORKER" not in os.environ:
            with Path(path).open("a") as file:
                print(json.dumps(self._seconds), file=file)
        terminalreporter.section("recovery from faults")
        terminalreporter.write_line(f"{'ms':>7}  {'worst of':>8}  fault")
        for fault, seconds in self._seconds.items():
            terminalreporter.write_line(f"{max(seconds) * 1000:7.0f}  {len(seconds):8}  {fault}")
        recoveries = [max(seconds) for seconds in self._seconds.values()]
        terminalreporter.write_line(f"{median(recoveries) * 1000:7.0f}  {len(recoveries):8}  median of these")
