"""The demo's tenant API: an ordinary FastAPI service that has corspolicy installed as any user would."""

from __future__ import annotations

from fastapi import FastAPI

from corspolicy import install

TENANT = "demo"


def create_app() -> FastAPI:
    """Greets; reads CORSPOLICY_REDIS_URL."""
    app = FastAPI(title="corspolicy demo API", docs_url=None, redoc_url=None)
    install(app, service="demo-api", tenant=TENANT)

    @app.get("/greeting")
    async def read() -> dict[str, str]:
        return {"greeting": "Hello from the API."}

    @app.put("/greeting")
    async def write() -> dict[str, str]:
        return {"greeting": "The API took your PUT."}

    return app
