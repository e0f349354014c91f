"""Finds the CORSMiddlewares of an application."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

_MAX_DEPTH = 50
WHOLE = "the application"


class Found(NamedTuple):
    """A CORSMiddleware, and the part of the application that it wraps."""

    where: str
    middleware: CORSMiddleware


def find(app: object, where: str = WHOLE, depth: int = 0) -> Iterator[Found]:
    """Every CORSMiddleware of an application: added to it, wrapped around it, or of one of its routes or mounts."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(app, CORSMiddleware):
        yield Found(where, app)
    if isinstance(app, Starlette):
        for added in app.user_middleware:
            yield from _added(added, where)
        yield from find(app.router, where, depth + 1)
    elif isinstance(app, Router):
        yield from find(app.middleware_stack, where, depth + 1)
        for route in app.routes:
            if hasattr(route, "app"):
                yield from find(route.app, f"the routes at {getattr(route, 'path', '') or '/'}", depth + 1)
    elif hasattr(app, "app"):
        yield from find(app.app, where, depth + 1)


def _added(added: Middleware, where: str) -> Iterator[Found]:
    make: Any = added.cls
    made_of = make.func if isinstance(make, partial) else make
    if isinstance(made_of, type) and issubclass(made_of, CORSMiddleware):
        yield Found(where, make(_nothing, *added.args, **added.kwargs))


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The application of a middleware that is inspected and never called."""
