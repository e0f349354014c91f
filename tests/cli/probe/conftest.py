"""Well-behaved servers to probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from corspolicy import CORSPolicyMiddleware
from corspolicy.testing import FixedPolicies
from tests.cli.probe.probing import POLICY
from tests.client.uvicorns import serving
from tests.scripted import Answer, Scripted

APP_ANSWERS = {
    (method, path): Answer(status, [("X-Total", "3"), ("X-Secret", "4"), ("Set-Cookie", "session=5")])
    for method in ("GET", "POST", "PUT")
    for path, status in (("/", 200), ("/missing", 404))
}


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def app() -> Scripted:
    return Scripted(APP_ANSWERS)


@pytest.fixture(scope="module")
def ours(stack: ExitStack, app: Scripted) -> int:
    """Our middleware with POLICY; its port."""
    policies = FixedPolicies({"acme": {"default": POLICY}})
    installed = CORSPolicyMiddleware(app, service="billing", tenant="acme", policies=policies)
    return stack.enter_context(serving(installed, lifespan="off"))


@pytest.fixture(scope="module")
def starlettes(stack: ExitStack) -> int:
    """Starlette's own middleware with the same settings; its port."""
    settings: dict[str, Any] = POLICY
    app = FastAPI()
    app.add_middleware(CORSMiddleware, **settings)

    @app.api_route("/", methods=["GET", "POST", "PUT"])
    async def read() -> str:
        return "hello"

    return stack.enter_context(serving(app))
