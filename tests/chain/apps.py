"""Services as users write them, for processes of their own."""

from __future__ import annotations

import json
import os

from fastapi import FastAPI

from corspolicy import Policies, TenantFromHost, TenantFromPath, install


def _app(service: str) -> FastAPI:
    app = FastAPI()
    by_path = os.environ.get("TEST_TENANT_FROM") == "path"
    tenant = TenantFromPath("/t/{tenant}") if by_path else TenantFromHost("{tenant}.api.test")
    options = os.environ.get("TEST_POLICIES")
    policies = install(
        app, service=service, tenant=tenant, policies=None if options is None else Policies(**json.loads(options))
    )

    add_routes(app, policies)
    return app


def add_routes(app: FastAPI, policies: Policies) -> None:
    """What tests ask such a service for: how far it is, and something of a tenant."""

    @app.get("/livez")
    async def livez() -> dict[str, object]:
        return {"revision": policies.status().revision, "process": os.getpid()}

    @app.get("/t/{tenant}")
    async def read(tenant: str) -> int:
        return os.getpid()


def billing() -> FastAPI:
    """The service `billing`."""
    return _app("billing")


def orders() -> FastAPI:
    """The service `orders`."""
    return _app("orders")
