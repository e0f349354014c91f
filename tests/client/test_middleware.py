"""The middleware around real frameworks: errors, streams, mounts, sockets, lifespans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from corspolicy import CORSPolicyMiddleware, TenantFromScope, install
from corspolicy.core.decision import Reason
from corspolicy.testing import FixedPolicies
from tests.client.uvicorns import exchange, serving

ORIGIN = "https://app.example.com"
POLICY = {
    "allow_origins": [ORIGIN],
    "allow_credentials": True,
    "allow_methods": ["PUT"],
    "allow_headers": ["authorization"],
    "expose_headers": ["x-request-id"],
}


def _policies() -> FixedPolicies:
    return FixedPolicies({"acme": {"default": POLICY}})


def _installed(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    install(app, service="billing", tenant="acme", policies=_policies())
    return app


def _get(port: int, path: str = "/", origin: str = ORIGIN, method: str = "GET", **options: Any) -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{port}{path}", headers={"Origin": origin}, **options)


def _assert_granted(answer: httpx.Response) -> None:
    assert answer.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]


def test_a_500_carries_the_headers_and_the_exception_reaches_the_server() -> None:
    app = _installed()
    seen: list[BaseException] = []

    @app.get("/")
    async def fail() -> None:
        raise RuntimeError("broken")

    async def server(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except RuntimeError as error:
            seen.append(error)
            raise

    with serving(server) as port:
        answer = _get(port)
    assert answer.status_code == 500
    assert answer.text == "Internal Server Error"
    _assert_granted(answer)
    assert [str(error) for error in seen] == ["broken"]


def test_the_apps_own_500_handler_and_debug_page_still_answer() -> None:
    handled, debugged = _installed(), _installed(debug=True)

    @handled.exception_handler(Exception)
    async def answer_500(request: Request, error: Exception) -> Response:
        return JSONResponse({"custom": str(error)}, 500)

    for app in (handled, debugged):

        @app.get("/")
        async def fail() -> None:
            raise RuntimeError("broken")

    with serving(handled) as port:
        answer = _get(port)
        assert (answer.status_code, answer.json()) == (500, {"custom": "broken"})
        _assert_granted(answer)
    with serving(debugged) as port:
        answer = _get(port)
        assert answer.status_code == 500
        assert "RuntimeError: broken" in answer.text
        _assert_granted(answer)


def test_errors_of_outer_framework_layers_carry_the_headers() -> None:
    app = _installed(max_body_size=10)

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    with serving(app) as port:
        for answer, status in (
            (_get(port, method="POST", content=b"x" * 100), 413),
            (_get(port, "/nowhere"), 404),
            (_get(port, method="DELETE"), 405),
            (_get(port, "/teapot"), 418),
        ):
            assert answer.status_code == status
            _assert_granted(answer)


def test_it_answers_ahead_of_authentication() -> None:
    app = _installed()

    @app.middleware("http")
    async def authenticate(request: Request, call_next: Any) -> Response:
        return PlainTextResponse("who are you?", 401)

    with serving(app) as port:
        preflight = [(b"origin", ORIGIN.encode()), (b"access-control-request-method", b"PUT")]
        assert exchange(port, "OPTIONS", "/", preflight)[0] == 204
        answer = _get(port)
        assert answer.status_code == 401
        _assert_granted(answer)


def test_one_middleware_answers_for_mounted_apps() -> None:
    inner = FastAPI()

    @inner.get("/item")
    async def item() -> str:
        return "inner"

    app = _installed()
    app.mount("/inner", inner)
    starlette = Starlette(routes=[Mount("/deep", app), Route("/", lambda request: PlainTextResponse("outer"))])
    install(starlette, service="billing", tenant="acme", policies=_policies())
    with serving(app) as port:
        _assert_granted(_get(port, "/inner/item"))
    with serving(starlette) as port:
        _assert_granted(_get(port, "/"))
        # Installed twice on the way: still one line each.
        _assert_granted(_get(port, "/deep/inner/item"))


def test_streams_and_events_are_forwarded_as_they_come() -> None:
    app = _installed()
    may_go_on = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await may_go_on.wait()
        yield "data: 2\n\n"

    @app.get("/")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/go-on")
    async def go_on() -> None:
        may_go_on.set()

    url = "http://127.0.0.1:{}"
    with (
        serving(app) as port,
        httpx.stream("GET", url.format(port), headers={"Origin": ORIGIN}) as answer,
    ):
        chunks = answer.iter_text()
        # The second event is only made after the first was received.
        assert next(chunks) == "data: 1\n\n"
        httpx.post(url.format(port) + "/go-on")
        assert next(chunks) == "data: 2\n\n"
        _assert_granted(httpx.Response(200, headers=answer.headers))


def test_the_apps_headers_and_body_are_untouched() -> None:
    app = _installed()

    @app.get("/")
    async def respond() -> Response:
        response = Response(b"\x00body", 206, {"X-Own": "1", "Access-Control-Allow-Origin": "*", "Vary": "Accept"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    with serving(app) as port:
        answer = _get(port)
        denied = _get(port, origin="https://evil.example")
    assert (answer.status_code, answer.content, answer.headers["x-own"]) == (206, b"\x00body", "1")
    assert len(answer.headers.get_list("set-cookie")) == 2
    assert answer.headers["vary"] == "Accept, Origin"
    _assert_granted(answer)
    assert not [name for name in denied.headers if name.startswith("access-control-")]
    assert (denied.status_code, denied.headers["vary"]) == (206, "Accept, Origin")


def test_a_message_that_the_app_uses_again_is_not_written_to() -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"Access-Control-Allow-Origin", b"*")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    with serving(CORSPolicyMiddleware(app, service="x", tenant="acme", policies=_policies())) as port:
        _assert_granted(_get(port))
        assert "access-control-allow-origin" not in _get(port, origin="https://evil.example").headers
    assert start["headers"] == [(b"Access-Control-Allow-Origin", b"*")]


def test_other_scopes_are_passed_through() -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.append(arguments)

    middleware = CORSPolicyMiddleware(app, service="x", tenant="acme", policies=_policies())
    socket = ({"type": "websocket", "headers": [(b"origin", b"https://evil.example")]}, object(), object())
    asyncio.run(middleware(*socket))  # type: ignore[arg-type]
    assert seen == [socket]


def test_the_apps_own_lifespan_runs() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("started")
        yield
        seen.append("stopped")

    with serving(_installed(lifespan=lifespan)) as port:
        assert _get(port).status_code == 404
    assert seen == ["started", "stopped"]


def test_headers_that_chose_the_tenant_are_listed_in_vary() -> None:
    def by_header(scope: Any) -> str | None:
        return dict(scope["headers"]).get(b"x-tenant", b"").decode() or None

    app = FastAPI()
    install(app, service="x", tenant=TenantFromScope(by_header, vary=("X-Tenant",)), policies=_policies())
    with serving(app) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}", headers={"Origin": ORIGIN, "X-Tenant": "acme"})
        preflight = exchange(port, "OPTIONS", "/", [(b"origin", b"x://y"), (b"access-control-request-method", b"PUT")])
    assert answer.headers["vary"] == "Origin, X-Tenant"
    _assert_granted(answer)
    assert dict(preflight[1])["vary"].endswith(", Access-Control-Request-Headers, X-Tenant")


def test_a_tenant_callable_that_fails_grants_nothing_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(scope: Any) -> str | None:
        raise RuntimeError("no tenants today")

    app = FastAPI()
    install(app, service="x", tenant=fail, policies=_policies())
    with serving(app) as port:
        answer = _get(port)
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers
    assert "no tenants today" in caplog.text


@pytest.mark.parametrize("named", [b"acme", 7, ("acme",)])
def test_a_resolver_that_returns_no_text_grants_nothing_with_one_log_line(
    named: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    install(app, service="billing", tenant=lambda scope: named, policies=_policies())
    with serving(app) as port:
        answer = _get(port, "/openapi.json")
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    (record,) = [record for record in caplog.records if "tenant resolver" in record.getMessage()]
    assert record.exc_info is None


def test_denied_requests_are_counted_by_reason() -> None:
    policies = _policies()
    app = FastAPI()
    install(app, service="x", tenant="acme", policies=policies)
    with serving(app) as port:
        _get(port)
        _get(port, origin="https://evil.example")
        _get(port, origin="https://evil.example")
        exchange(port, "OPTIONS", "/", [(b"origin", ORIGIN.encode()), (b"access-control-request-method", b"PATCH")])
        httpx.get(f"http://127.0.0.1:{port}")
    assert dict(policies.denied) == {Reason.ORIGIN_NOT_ALLOWED: 2, Reason.METHOD_NOT_ALLOWED: 1}


def test_install_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORSPOLICY_REDIS_URL", raising=False)
    with pytest.raises(ValueError, match="CORSPOLICY_REDIS_URL"):
        install(FastAPI(), service="x", tenant="acme")
    with pytest.raises(TypeError, match="serve CORSPolicyMiddleware"):
        install(object(), service="x", tenant="acme", policies=_policies())
    with pytest.raises(ValueError, match=r"policy default of tenant acme: .*Unknown setting"):
        FixedPolicies({"acme": {"default": {"allow_origin": []}}})
    app = FastAPI()
    with serving(app) as port:
        _get(port)
    with pytest.raises(RuntimeError, match="before the application starts"):
        install(app, service="x", tenant="acme", policies=_policies())
