"""What a real browser makes of the middleware's responses, where its caches and its odd origins matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page

from corspolicy import CORSPolicyMiddleware
from corspolicy.testing import FixedPolicies
from tests.client.uvicorns import serving

ETAG = b'"1"'
READ = """async ([url, method]) => {
    try {
        const response = await fetch(url, {method});
        return [response.status, await response.text()];
    } catch (error) {
        return error.message;
    }
}"""
BLOCKED = "Failed to fetch"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """A resource that is stored, and asked for again each time."""
    is_known = (b"if-none-match", ETAG) in scope["headers"]
    headers = [(b"etag", ETAG), (b"cache-control", b"no-cache"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 304 if is_known else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_known else b"content"})


async def _blank_page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<!doctype html><title>page</title>"})


class Service:
    """The middleware around the app, with a policy that can be replaced; remembers what was sent to it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, set[bytes]]] = []
        self.apply({})

    def apply(self, policy: dict[str, Any]) -> None:
        policies = FixedPolicies({"acme": {"default": policy}})
        self._middleware = CORSPolicyMiddleware(_app, service="billing", tenant="acme", policies=policies)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.requests.append((scope["method"], {name for name, _ in scope["headers"]}))
        await self._middleware(scope, receive, send)


class Servers(NamedTuple):
    """The service, its address, and the port of a page that any host name leads to."""

    service: Service
    url: str
    page_port: int


@pytest.fixture
def servers() -> Iterator[Servers]:
    service = Service()
    with serving(service) as port, serving(_blank_page, lifespan="off") as page_port:
        yield Servers(service, f"http://127.0.0.1:{port}/", page_port)


def _fetch(page: Page, url: str, method: str = "GET") -> Any:
    """The status and the text that a script of the page reads; BLOCKED where the browser lets it read nothing."""
    return page.evaluate(READ, [url, method])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_removed_origin_reads_nothing_that_the_browser_has_stored(servers: Servers, page: Page, method: str) -> None:
    service, url, page_port = servers
    origin = f"http://app.example.com:{page_port}"
    page.goto(origin)
    service.apply({"allow_origins": [origin]})
    assert _fetch(page, url) == [200, "content"]
    assert _fetch(page, url) == [200, "content"]
    assert b"if-none-match" in service.requests[-1][1], "the browser did not store the response"

    service.apply({"allow_origins": ["https://other.example.com"]})
    for _ in range(2):
        assert _fetch(page, url, method) == BLOCKED
    service.apply({"allow_origins": [origin]})
    assert _fetch(page, url) == [200, "content"]


def test_five_writes_are_one_preflight(servers: Servers, page: Page) -> None:
    service, url, page_port = servers
    origin = f"http://app.example.com:{page_port}"
    page.goto(origin)
    service.apply({"allow_origins": [origin], "allow_methods": ["PUT", "DELETE"], "max_age": 600})
    writes = ["PUT", "DELETE", "PUT", "DELETE", "PUT"]
    for method in writes:
        assert _fetch(page, url, method) == [200, "content"]
    assert [method for method, _ in service.requests] == ["OPTIONS", *writes]


@pytest.mark.parametrize("host", ["a!b.example.com", "a,b.example.com", "[::ffff:7f00:1]"])
def test_an_anonymous_any_lets_odd_origins_read(servers: Servers, page: Page, host: str) -> None:
    service, url, page_port = servers
    origin = f"http://{host}:{page_port}"
    page.goto(origin)
    assert page.evaluate("origin") == origin
    assert _fetch(page, url) == BLOCKED
    service.apply({"allow_origins": ["*"], "allow_methods": ["PUT"]})
    assert _fetch(page, url) == [200, "content"]
    assert _fetch(page, url, "PUT") == [200, "content"]
