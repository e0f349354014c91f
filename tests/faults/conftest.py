from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import Databases
from tests.faults.line import Line, Services
from tests.faults.postgres import Postgres, own_postgres
from tests.faults.table import CHECKED, RECOVERY, SEED


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the module's own, for tests that break or replace it.

    A module whose every test uses it has its `line` on it.
    """
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def line_type() -> type[Line]:
    """What a module's `line` is."""
    return Line


@pytest.fixture(scope="module")
def line(
    request: pytest.FixtureRequest, line_type: type[Line], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Line]:
    """A line of the module's own; every test heals what it breaks."""
    with ExitStack() as stack:
        if "postgres" in request.fixturenames:
            databases = stack.enter_context(Databases(request.getfixturevalue("postgres").url))
            create: Callable[[], str] = databases.create
        else:
            create = request.getfixturevalue("new_database")
        yield line_type(stack, create(), tmp_path_factory.mktemp("line"))


@pytest.fixture(autouse=True)
def healed(line: Services, request: pytest.FixtureRequest) -> Iterator[None]:
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


@pytest.fixture
def checked(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells what a random run has checked, at the end of the run."""
    return lambda what: request.node.user_properties.append((CHECKED, what))
