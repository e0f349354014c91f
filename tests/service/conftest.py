"""Fixtures of the tests of the admin API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests import servers
from tests.conftest import admin_api, service_environment
from tests.service.helpers import Operation
from tests.support import Api, Process, running


@pytest.fixture(scope="session")
def shared_api(new_database: Callable[[], str]) -> Iterator[Api]:
    """One service for the modules that work on tenants of their own only: starting it takes seconds."""
    with servers.redis() as redis_url:
        environment = service_environment(new_database(), redis_url)
        with running("policy_service.app:create_app", environment) as process, admin_api(process) as api:
            yield api


@pytest.fixture(scope="module")
def operations(service: Process) -> list[Operation]:
    """Everything in the OpenAPI document."""
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            example = None
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                example = document["components"]["schemas"][reference.rpartition("/")[2]]["examples"][0]
            found.append(Operation(method.upper(), path, example, operation["operationId"]))
    assert len(found) >= 16
    return found
