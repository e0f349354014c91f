"""Services as users write them, for processes of their own."""

from __future__ import annotations

import os

from fastapi import FastAPI

from corspolicy import Policies, TenantFromHost, TenantFromPath, install


def _app(service: str) -> FastAPI:
    app = FastAPI()
    by_path = os.environ.get("TEST_TENANT_FROM") == "path"
    tenant = TenantFromPath("/t/{tenant}") if by_path else TenantFromHost("{tenant}.api.test")
    max_stale = os.environ.get("TEST_MAX_STALE")
    policies = Policies(max_stale=None if max_stale is None else float(max_stale))
    install(app, service=service, tenant=tenant, policies=policies)

    @app.get("/livez")
    async def livez() -> dict[str, object]:
        return {"revision": policies.status().revision, "process": os.getpid()}

    @app.get("/t/{tenant}")
    async def read(tenant: str) -> int:
        return os.getpid()

    return app


def billing() -> FastAPI:
    """The service `billing`."""
    return _app("billing")


def orders() -> FastAPI:
    """The service `orders`."""
    return _app("orders")
