from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.line import Line, Recovery

_RECOVERIES = pytest.StashKey[list[Recovery]]()


@pytest.fixture(scope="session")
def recoveries(pytestconfig: pytest.Config) -> list[Recovery]:
    """Collects how long each recovery took, for the table at the end."""
    return pytestconfig.stash.setdefault(_RECOVERIES, [])


@pytest.fixture(scope="module")
def line(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory, recoveries: list[Recovery]
) -> Iterator[Line]:
    """A line of the module's own; every test heals what it breaks."""
    with ExitStack() as stack:
        yield Line(stack, new_database(), tmp_path_factory.mktemp("line"), recoveries)


@pytest.fixture(autouse=True)
def healed(line: Line) -> Iterator[None]:
    """The connections of each test are its own: one that a test left dead is no trouble to the next."""
    yield
    line.heal()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    recoveries = config.stash.get(_RECOVERIES, [])
    if recoveries:
        terminalreporter.section("recovery from faults")
        terminalreporter.write_line(f"{'ms':>7}  {'worst of':>8}  fault")
        for fault in dict.fromkeys(recovery.fault for recovery in recoveries):
            times = [recovery.seconds * 1000 for recovery in recoveries if recovery.fault == fault]
            terminalreporter.write_line(f"{max(times):7.0f}  {len(times):8}  {fault}")
