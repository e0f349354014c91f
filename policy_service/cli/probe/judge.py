"""What a browser concludes: the page's side of the CORS protocol, by the Fetch standard. Pure: no I/O, no clock.

`fetch` is the algorithm as a generator: it yields each request that a browser would send, is sent the response to
it, and returns the verdict. `corspolicy probe` drives it over HTTP; the tests use it as their browser.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise

import httpx

from policy_service.cli.probe.checks import (
    REDIRECT_STATUSES,
    Denial,
    Reason,
    Response,
    cors_check,
    preflight_check,
    readable_headers,
)
from policy_service.cli.probe.safelists import (
    FORBIDDEN_RESPONSE_HEADERS,
    NON_WILDCARD_REQUEST_HEADERS,
    SAFELISTED_METHODS,
    Line,
    unsafe_request_header_names,
)
from policy_service.cli.probe.urls import is_loopback, origin_of, parse

__all__ = [
    "Denial", "Exchange", "Fetch", "Page", "Reason", "Request", "Response", "Verdict", "cors_check", "fetch",
    "needs_preflight", "preflight_check", "readable_headers",
]  # fmt: skip

MAX_REDIRECTS = 20
_BODY_HEADERS = frozenset(("content-encoding", "content-language", "content-location", "content-type"))


@dataclass(frozen=True, slots=True)
class Page:
    """What a page asks `fetch()` for: mode "cors", redirect mode "follow", no body.

    `method` is normalized (Fetch, section 2.2.1); `headers` are those that the page sets. With `credentials`, the
    credentials mode is "include", else "omit"; `cookie` is what the browser then sends to the host of `url`.
    """

    url: str
    origin: str
    method: str = "GET"
    headers: tuple[Line, ...] = ()
    credentials: bool = False
    cookie: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the browser sends, with the lines that matter here."""

    method: str
    url: str
    origin: str
    headers: tuple[Line, ...]
    is_preflight: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the response to it."""

    request: Request
    response: Response


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the browser concludes, and from what. `readable` are the response headers that the page may read."""

    allowed: bool
    reason: Reason
    message: str
    exchanges: tuple[Exchange, ...] = ()
    readable: tuple[str, ...] = ()


Fetch = Generator[Request, Response, Verdict]


def fetch(page: Page, *, preflight_only: bool = False) -> Fetch:
    """Main fetch with all that it calls (Fetch, sections 4.1, 4.4, 4.5 and 4.8), for what a page asks for.

    With `preflight_only` it ends with what the preflight says, before the actual request.
    """
    return (yield from _Fetching(page).main_fetch(preflight_only=preflight_only))


def needs_preflight(page: Page) -> bool:
    """Whether a browser sends a preflight first: the method or a header is not safelisted (Fetch, section 4.1)."""
    is_safelisted = page.method in SAFELISTED_METHODS and not unsafe_request_header_names(page.headers)
    return not is_safelisted and origin_of(httpx.URL(page.url)) != page.origin


class _Fetching:
    """A fetch under way: a request's method, header list, URL list and response tainting change by redirects."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._method = page.method
        self._headers = page.headers
        self._urls = [httpx.URL(page.url).copy_with(fragment=None)]
        self._is_cors = False
        self._exchanges: list[Exchange] = []

    @property
    def _url(self) -> httpx.URL:
        return self._urls[-1]

    def main_fetch(self, *, preflight_only: bool) -> Fetch:
        """Fetch, sections 4.1 (main fetch) and 4.4 (HTTP fetch)."""
        while True:
            if self._page.origin.startswith("https:") and self._url.scheme == "http" and not is_loopback(self._url):
                text = "is mixed content: browsers let a page on https call http only on this machine."
                return self._denied("The request", Denial(Reason.MIXED_CONTENT, text))
            # The response tainting: once "cors", always "cors".
            self._is_cors = self._is_cors or origin_of(self._url) != self._page.origin
            names = unsafe_request_header_names(self._headers)
            if self._is_cors and (self._method not in SAFELISTED_METHODS or names):
                denial = yield from self._preflight(names)
                if denial is not None:
                    return self._denied("The response to the preflight", denial)
            if preflight_only:
                text = "The preflight allows the request, which was not sent."
                return Verdict(True, Reason.ALLOWED, text, tuple(self._exchanges))
            response = yield from self._send(self._actual_request())
            if self._is_cors:
                denial = cors_check(self._origin, response, credentials=self._page.credentials)
                if denial is not None:
                    return self._denied(f"The response to {self._method}", denial)
            location = response.get("location")
            if response.status not in REDIRECT_STATUSES or location is None:
                return self._allowed(response)
            denial = self._redirect(response.status, location)
            if denial is not None:
                return self._denied("The redirect", denial)

    def _preflight(self, names: list[str]) -> Generator[Request, Response, Denial | None]:
        """CORS-preflight fetch (Fetch, section 4.8)."""
        lines = [("Accept", "*/*"), ("Access-Control-Request-Method", self._method)]
        if names:
            lines.append(("Access-Control-Request-Headers", ",".join(names)))
        lines.append(("Origin", self._origin))
        request = Request("OPTIONS", str(self._url), self._origin, tuple(lines), is_preflight=True)
        response = yield from self._send(request)
        return preflight_check(self._origin, self._method, self._headers, response, credentials=self._page.credentials)

    def _actual_request(self) -> Request:
        lines = list(self._headers)
        if not any(name.lower() == "accept" for name, _ in lines):
            lines.insert(0, ("Accept", "*/*"))
        # Fetch, section 3.2: the `Origin` header.
        if self._is_cors or self._method not in ("GET", "HEAD"):
            lines.append(("Origin", self._origin))
        if self._page.cookie is not None and self._page.credentials and self._url.host == self._urls[0].host:
            lines.append(("Cookie", self._page.cookie))
        return Request(self._method, str(self._url), self._origin, tuple(lines))

    def _send(self, request: Request) -> Generator[Request, Response, Response]:
        response = yield request
        self._exchanges.append(Exchange(request, response))
        return response

    def _redirect(self, status: int, location: str) -> Denial | None:
        """HTTP-redirect fetch (Fetch, section 4.5)."""
        target = parse(location, self._url)
        if target is None:
            return Denial(Reason.REDIRECT_INVALID, "leads to an invalid URL.")
        if target.scheme not in ("http", "https"):
            return Denial(
                Reason.REDIRECT_INVALID, f"leads to a URL of scheme {target.scheme}: browsers follow http(s)."
            )
        if len(self._urls) > MAX_REDIRECTS:
            return Denial(Reason.TOO_MANY_REDIRECTS, f"is one of more than {MAX_REDIRECTS}: browsers stop there.")
        if target.userinfo and (self._is_cors or origin_of(target) != self._page.origin):
            return Denial(Reason.REDIRECT_INVALID, "leads to a URL with a user name or password.")
        if (status in (301, 302) and self._method == "POST") or (status == 303 and self._method not in ("GET", "HEAD")):
            self._method = "GET"
            self._headers = tuple(line for line in self._headers if line[0].lower() not in _BODY_HEADERS)
        if origin_of(target) != origin_of(self._url):
            self._headers = tuple(line for line in self._headers if line[0].lower() not in NON_WILDCARD_REQUEST_HEADERS)
        self._urls.append(target)
        return None

    @property
    def _origin(self) -> str:
        """Serializing a request origin (Fetch, section 2.2.5): `null` after a redirect away from another's origin."""
        origins = [origin_of(url) for url in self._urls]
        is_tainted = any(last not in (url, self._page.origin) for last, url in pairwise(origins))
        return "null" if is_tainted else self._page.origin

    def _allowed(self, response: Response) -> Verdict:
        if not self._is_cors:
            every = {name.lower() for name, _ in response.headers} - FORBIDDEN_RESPONSE_HEADERS
            text = "The page and the address have the same origin: CORS plays no part."
            return Verdict(True, Reason.SAME_ORIGIN, text, tuple(self._exchanges), tuple(sorted(every)))
        readable = readable_headers(response, credentials=self._page.credentials)
        text = "The browser lets the page read the response."
        return Verdict(True, Reason.ALLOWED, text, tuple(self._exchanges), readable)

    def _denied(self, what: str, denial: Denial) -> Verdict:
        return Verdict(False, denial.reason, f"{what} {denial.message}", tuple(self._exchanges))
