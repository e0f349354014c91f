"""The table of recoveries that a run prints at its end, whichever processes ran the tests."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

RECOVERY = "recovery"
SEED = "seed"


class RecoveryTable:
    """A plugin of pytest: collects what tests noted as their properties.

    `recovery` is a fault and seconds, `seed` what a random run was drawn from.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._seeds: list[int] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            properties: list[tuple[str, Any]] = report.user_properties
            for fault, seconds in [value for name, value in properties if name == RECOVERY]:
                self._seconds.setdefault(fault, []).append(seconds)
            self._seeds += [value for name, value in properties if name == SEED]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for seed in self._seeds:
            terminalreporter.write_line(f"random faults: seed {seed}; CORSPOLICY_TEST_SEED={seed} repeats that run")
        if not self._seconds:
            return
        terminalreporter.section("recovery from faults")
        terminalreporter.write_line(f"{'ms':>7}  {'worst of':>8}  fault")
        for fault, seconds in self._seconds.items():
            terminalreporter.write_line(f"{max(seconds) * 1000:7.0f}  {len(seconds):8}  {fault}")
        recoveries = [max(seconds) for seconds in self._seconds.values()]
        terminalreporter.write_line(f"{median(recoveries) * 1000:7.0f}  {len(recoveries):8}  median of these")
