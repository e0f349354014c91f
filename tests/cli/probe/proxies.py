"""A reverse proxy that misbehaves as real ones do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.scripted import Answer

Head = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass
class Proxy:
    """An ASGI application that forwards to `upstream`, a port.

    It answers the methods in `answers` itself, adds and removes header lines, and with `caches` stores the first
    response to each path, whatever Origin it was for.
    """

    upstream: int
    answers: Mapping[str, Answer] = field(default_factory=dict)
    adds: Sequence[tuple[bytes, bytes]] = ()
    removes: Sequence[bytes] = ()
    caches: bool = False
    _stored: dict[str, Head] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        status, lines, body = await self._head(scope)
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    async def _head(self, scope: Any) -> Head:
        own = self.answers.get(scope["method"])
        if own is not None:
            return own.status, [(name.encode(), value.encode()) for name, value in own.headers], own.body
        if scope["path"] in self._stored:
            status, lines, body = self._stored[scope["path"]]
            return status, [*lines, (b"age", b"17"), (b"x-cache", b"HIT")], body
        found = await self._forward(scope)
        if self.caches and scope["method"] == "GET":
            self._stored[scope["path"]] = found
        return found

    async def _forward(self, scope: Any) -> Head:
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{self.upstream}{scope['path']}"
            answer = await client.request(scope["method"], url, headers=scope["headers"])
        # What belongs to the connection behind is left to the server in front.
        removed = {b"connection", b"date", b"server", b"transfer-encoding", *self.removes}
        lines = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in removed]
        return answer.status_code, [*lines, *self.adds], answer.content
