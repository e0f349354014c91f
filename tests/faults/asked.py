"""A service that asks its own middleware all the time, and checks each answer: many thousand requests a second."""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from corspolicy import Policies, TenantFromPath, install
from corspolicy.middleware import CORSPolicyMiddleware
from tests.chain.apps import add_routes
from tests.faults.book import Book, Rule
from tests.faults.watch import counts

SERVICE = "billing"
TENANT = TenantFromPath("/t/{tenant}")
PAUSE_SECONDS = 0.01


class Asker:
    """Asks as an ASGI server would, for one pair of tenant and origin after the other."""

    def __init__(self, policies: Policies, folder: Path, tenants: dict[str, list[str]], rule: Rule, batch: int) -> None:
        self._middleware = CORSPolicyMiddleware(_answer, service=SERVICE, tenant=TENANT, policies=policies)
        self._book = Book(folder, tenants)
        self._rule = rule
        self._batch = batch
        self._counts = counts(folder, rule.name)

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            for number, pair in enumerate(cycle(self._book.pairs)):
                await self._ask(pair)
                if number % self._batch == 0:
                    await asyncio.sleep(PAUSE_SECONDS)
        except Exception:
            self._book.note(f"{self._rule.name} asks no more: {traceback.format_exc()}")
            raise

    async def _ask(self, pair: tuple[str, str]) -> None:
        tenant, origin = pair
        allowed: list[bytes] = []

        async def send(message: Any) -> None:
            lines = message.get("headers", ())
            allowed.extend(value for name, value in lines if name == b"access-control-allow-origin")

        headers = [(b"host", b"localhost"), (b"origin", origin.encode())]
        path = f"/t/{tenant}"
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}
        before = self._book[pair]
        await self._middleware(scope, _receive, send)
        assert allowed in ([], [origin.encode()])
        wrong = self._rule.check(before, self._book[pair], is_allowed=bool(allowed))
        self._counts[bool(allowed)] += 1
        if wrong is not None:
            self._book.note(f"{self._rule.name}: {origin} of {tenant} was {wrong}")


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def create_app() -> FastAPI:
    """The service `billing`. TEST_ASKED has what it asks and what is expected, TEST_POLICIES options."""
    asked = json.loads(os.environ["TEST_ASKED"])
    policies = Policies(**json.loads(os.environ.get("TEST_POLICIES") or "{}"))
    asker = Asker(policies, Path(asked["folder"]), asked["tenants"], Rule(*asked["rule"]), asked["batch"])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asking = asyncio.create_task(asker.run())
        yield
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    app = FastAPI(lifespan=lifespan)
    install(app, service=SERVICE, tenant=TENANT, policies=policies)
    add_routes(app, policies)
    return app
