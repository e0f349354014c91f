"""The demo's front-end: one page, served from another origin than the API that it calls."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_PAGE = Path(__file__).parent / "page.html"


def create_app() -> FastAPI:
    """Serves the page; CORSPOLICY_DEMO_API is the URL of the API that it calls."""
    app = FastAPI(docs_url=None, redoc_url=None)
    page = _PAGE.read_text(encoding="utf-8").replace("{{api}}", os.environ["CORSPOLICY_DEMO_API"])

    @app.get("/")
    async def show() -> HTMLResponse:
        return HTMLResponse(page)

    return app
