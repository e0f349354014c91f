from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.line import Line
from tests.faults.postgres import Postgres, own_postgres
from tests.faults.table import RECOVERY, SEED


@pytest.fixture(scope="module")
def line(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line of the module's own; every test heals what it breaks."""
    with ExitStack() as stack:
        yield Line(stack, new_database(), tmp_path_factory.mktemp("line"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the module's own, for tests that break or replace it."""
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(autouse=True)
def healed(line: Line, request: pytest.FixtureRequest) -> Iterator[None]:
    """The connections of each test are its own: one that a test left dead is no trouble to the next."""
    yield
    request.node.user_properties += [(RECOVERY, (name, seconds)) for name, seconds in line.recoveries]
    line.recoveries.clear()
    line.heal()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What a random run is drawn from; a run prints it at its end."""
    seed = int(os.environ.get("CORSPOLICY_TEST_SEED") or secrets.randbelow(2**32))
    request.node.user_properties.append((SEED, seed))
    return seed
