"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.cli.helpers import Cli
from tests.conftest import admin_api
from tests.support import Api, Process, running


@pytest.fixture(scope="session")
def shared_service(new_database: Callable[[], str]) -> Iterator[Process]:
    """One service for the modules that work on tenants of their own only: starting it takes seconds."""
    with servers.redis() as redis_url:
        environment = {"CORSPOLICY_DATABASE_URL": new_database(), "CORSPOLICY_REDIS_URL": redis_url}
        with running("policy_service.app:create_app", environment) as process:
            yield process


@pytest.fixture(scope="session")
def shared_api(shared_service: Process) -> Iterator[Api]:
    """Its API with an admin key."""
    with admin_api(shared_service) as api:
        yield api


@pytest.fixture(scope="session")
def cli(shared_api: Api) -> Cli:
    """The command line, with an admin key to that service."""
    return Cli(str(shared_api.http.base_url), shared_api.http.headers["Authorization"].removeprefix("Bearer "))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for files of tenants."""
    path = tmp_path / "tenants"
    path.mkdir()
    return path
