"""A server that answers as a test says, and records what it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Lines = Iterable[tuple[str, str]]


@dataclass
class Answer:
    """A status and header lines. `{origin}` in a value is the Origin that the request has."""

    status: int = 200
    headers: Lines = ()
    body: bytes = b"hello"


@dataclass
class Scripted:
    """An ASGI application: answers by method and path, else 404."""

    answers: Mapping[tuple[str, str], Answer]
    # Of each request: method, path, Origin, Access-Control-Request-Method and -Headers, Authorization, Cookie.
    seen: list[tuple[str | None, ...]] = field(default_factory=list)

    def take_seen(self) -> list[tuple[str | None, ...]]:
        """The requests since this was asked last."""
        seen, self.seen = self.seen, []
        return seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        names = ("origin", "access-control-request-method", "access-control-request-headers", "authorization", "cookie")
        self.seen.append((scope["method"], scope["path"], *(sent.get(name) for name in names)))
        answer = self.answers.get((scope["method"], scope["path"]), Answer(404))
        lines = [
            (name.encode(), value.replace("{origin}", sent.get("origin", "")).encode("latin-1"))
            for name, value in answer.headers
        ]
        has_no_body = answer.status in (204, 304)
        await send({"type": "http.response.start", "status": answer.status, "headers": lines})
        await send({"type": "http.response.body", "body": b"" if has_no_body else answer.body})
