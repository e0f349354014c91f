"""Where in an application a CORSMiddleware is found."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

from policy_service.cli.cors_import.middlewares import find

A = "https://a.example.com"


def _with_cors() -> Middleware:
    return Middleware(CORSMiddleware, allow_origins=[A])


async def _endpoint(_: Any) -> PlainTextResponse:
    return PlainTextResponse("")


class _Wrapped:
    def __init__(self, app: Any) -> None:
        self.app = app


def _added() -> FastAPI:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=[A])
    return app


def _mounted() -> FastAPI:
    app = FastAPI()
    app.mount("/v1", _added())
    return app


@pytest.mark.parametrize(
    ("app", "where"),
    [
        (_added(), "the application"),
        (Starlette(middleware=[_with_cors()]), "the application"),
        (Starlette(middleware=[Middleware(partial(CORSMiddleware, allow_origins=[A]))]), "the application"),
        (CORSMiddleware(FastAPI(), allow_origins=[A]), "the application"),
        (_Wrapped(_Wrapped(_added())), "the application"),
        (Router(middleware=[_with_cors()]), "the application"),
        (_mounted(), "the routes at /v1"),
        (Starlette(routes=[Mount("/v1", app=FastAPI(), middleware=[_with_cors()])]), "the routes at /v1"),
        (Starlette(routes=[Route("/v1", _endpoint, middleware=[_with_cors()])]), "the routes at /v1"),
        (Starlette(routes=[Host("api.example.com", _added())]), "the routes at /"),
    ],
)
def test_a_middleware_is_found_wherever_it_is(app: Any, where: str) -> None:
    (found,) = find(app)
    assert (found.where, list(found.middleware.allow_origins)) == (where, [A])


def test_there_may_be_none_or_several() -> None:
    assert list(find(FastAPI())) == []
    assert len(list(find(CORSMiddleware(_added())))) == 2
