"""Forty applications against the policies that are made of them: never wider, and narrower only where that is told."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.origins import Origin
from corspolicy.core.validation import check
from policy_service.cli.cors_import.equivalent import equivalent
from policy_service.cli.cors_import.findings import Equivalent, Nearest
from policy_service.cli.cors_import.middlewares import find
from policy_service.documents.domains import is_public_suffix, to_ascii
from tests.cli.apps import APPS, App

MUTATIONS: list[Callable[[str], str]] = [
    lambda origin: origin,
    lambda origin: f"{origin}.evil.com",
    lambda origin: f"{origin}evil",
    lambda origin: f"{origin}.",
    lambda origin: f"{origin}/",
    lambda origin: f"{origin}:8443",
    lambda origin: f"{origin}:65536",
    lambda origin: f"{origin}:080",
    lambda origin: f"{origin}, {origin}",
    lambda origin: f"{origin} ",
    lambda origin: f"{origin}@evil.com",
    lambda origin: f"{origin}#",
    lambda origin: origin.replace("://", "://evil"),
    lambda origin: origin.replace("://", "://evil."),
    lambda origin: origin.replace("://", "://a.b.c."),
    lambda origin: origin.replace("://", "://a_b."),
    lambda origin: origin.replace("://", "://a!b."),
    lambda origin: origin.replace("://", "://-a."),
    lambda origin: origin.replace("://", "://*."),
    lambda origin: origin.replace("://", "://.."),
    lambda origin: origin.replace("://", "://user@"),
    lambda origin: origin.replace("://", "://preview-x."),
    lambda origin: origin.replace("://", "://evil.com/"),
    lambda origin: origin.replace(".", "x", 1),
    lambda origin: origin.replace(".", "-"),
    lambda origin: origin.replace(".", "..", 1),
    lambda origin: origin.replace("example", "evil"),
    lambda origin: origin.replace("example", "xn--bcher-kva"),
    lambda origin: origin.upper(),
    lambda origin: origin.title(),
    lambda origin: "http" + origin[origin.index("://") :],
    lambda origin: "https" + origin[origin.index("://") :],
    lambda origin: "capacitor" + origin[origin.index("://") :],
    lambda origin: "wss" + origin[origin.index("://") :],
    lambda origin: origin[1:],
    lambda origin: origin[:-1],
    lambda origin: origin[:-4],
    lambda origin: re.sub(r"://[^.]*\.", "://", origin),
    lambda origin: re.sub(r":\d+$", "", origin),
    lambda origin: re.sub(r"(:\d+)?$", ":1", origin),
    lambda origin: re.sub(r"(:\d+)?$", ":443", origin),
    lambda origin: re.sub(r"(:\d+)?$", ":3000", origin),
    lambda origin: re.sub(r"://[^.:]*", "://b", origin),
    lambda origin: re.sub(r"://[^.:]*", "://preview-1", origin),
    lambda origin: re.sub(r"://[^.:]*", "://preview-", origin),
    lambda origin: re.sub(r"://[^.:]*", "://preview-_", origin),
]  # fmt: skip
COMMON = [
    "null", "*", "https://", "https://evil.com", "https://example.com", "http://example.com", "https://example.org",
    "https://com", "https://a.example.com", "https://b.a.example.com", "https://a.example.com:8443",
    "http://a.example.com", "https://example.com.evil.com", "https://evilexample.com", "https://exampleacom",
    "http://localhost", "https://localhost", "http://localhost:3000", "http://localhost:80",
    "http://localhost.evil.com", "http://127.0.0.1", "http://127.0.0.1:8080", "http://127.1", "http://2130706433",
    "http://0x7f.1", "http://[::1]", "http://[::1]:3000", "http://[::ffff:7f00:1]", "http://[0:0:0:0:0:0:0:1]",
    "http://0.0.0.0:8000", "http://192.168.1.10:3000", "https://xn--bcher-kva.example", "https://bücher.example",
    "https://a.example.com\t", "https://a,b.example.com", "https://a a.example.com",
    "https://" + "a" * 64 + ".example.com", "https://" + "a." * 130 + "example.com", "file://", "file:///x",
    "data:text/html,x", "app://.", "app://main", "capacitor://localhost", "ionic://localhost",
    "chrome-extension://abcdefghijklmnop", "moz-extension://1-2-3", "moz-extension://1-2-3:8080", "https://[::1]",
    "https://a.b", "https://a.com", "https://localhost.", "https://127.0.0.1", "http://10.0.0.1:5173", "null, null",
    "https://example.com:8443", "https://shop.example.org", "ws://a.example.com", "HTTPS://A.EXAMPLE.COM",
    "https://a.example.com:0", "", " ",
]  # fmt: skip


class Page(NamedTuple):
    """A request that a page makes."""

    method: str
    headers: tuple[str, ...]
    credentials: bool


PAGES = [
    Page("GET", (), False),
    Page("GET", (), True),
    Page("PUT", ("authorization", "x-token"), False),
    Page("PUT", ("x-token",), True),
]
Lines = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """What a server answers."""

    status: int
    headers: Mapping[str, str]

    def names(self, header: str) -> set[str]:
        """The names in a header that is a list."""
        return {name.strip() for name in self.headers.get(header, "").split(",") if name.strip()}


Ask = Callable[[str, Lines], Awaitable[Answer]]
# What a page gets: nothing, or an answer with the headers that it may read.
Read = frozenset[str] | None


def probes(app: App) -> list[str]:
    """Origins that are, or look like, those of the application's users."""
    mutated = (mutate(seed) for seed in app.seeds for mutate in MUTATIONS)
    return list(dict.fromkeys([*mutated, *COMMON]))


async def read(page: Page, origin: str, ask: Ask) -> Read:
    """What a browser lets a page of this origin read (Fetch, sections 4.8 to 4.10)."""
    lines = [(b"origin", origin.encode("latin-1"))]
    if page.method not in ("GET", "HEAD", "POST"):
        wanted = [
            (b"access-control-request-method", page.method.encode()),
            (b"access-control-request-headers", ",".join(page.headers).encode()),
        ]
        answer = await ask("OPTIONS", [*lines, *wanted])
        if not (200 <= answer.status < 300 and passes(page, origin, answer) and permits(page, answer)):
            return None
    answer = await ask(page.method, lines)
    if not passes(page, origin, answer):
        return None
    exposed = frozenset(name.lower() for name in answer.names("access-control-expose-headers"))
    return exposed if not page.credentials else exposed - {"*"}


def passes(page: Page, origin: str, answer: Answer) -> bool:
    """The CORS check (Fetch, section 4.10)."""
    allowed = answer.headers.get("access-control-allow-origin")
    if page.credentials:
        return allowed == origin and answer.headers.get("access-control-allow-credentials") == "true"
    return allowed in ("*", origin)


def permits(page: Page, answer: Answer) -> bool:
    """Whether a preflight's answer has the page's method and headers."""
    names = {name.lower() for name in answer.names("access-control-allow-headers")}
    is_any = "*" in names and not page.credentials
    has_names = all(name in names or (is_any and name != "authorization") for name in page.headers)
    return page.method in answer.names("access-control-allow-methods") and has_names


def asks_starlette(client: httpx.AsyncClient) -> Ask:
    async def ask(method: str, lines: Lines) -> Answer:
        response = await client.request(method, "/", headers=lines)
        return Answer(response.status_code, response.headers)

    return ask


def asks_corspolicy(found: Equivalent) -> Ask:
    checked = check(found.values, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    assert checked.policy is not None, checked.errors
    chain = Chain([CompiledPolicy("platform", "default", checked.policy)])

    async def ask(method: str, lines: Lines) -> Answer:
        decision = decide(chain, method, lines, time.time())
        headers = {name.decode(): value.decode("latin-1") for name, value in decision.headers}
        return Answer(decision.status or 200, headers)

    return ask


async def _answer() -> dict[str, str]:
    return {}


def made(app: App) -> FastAPI:
    application = FastAPI()
    application.add_middleware(CORSMiddleware, **app.cors)
    application.add_api_route("/", _answer, methods=["GET", "PUT"])
    return application


def imported(application: FastAPI, nearest: Nearest | None = None) -> Equivalent:
    ((_, middleware),) = find(application)
    return equivalent(middleware, nearest)


Compared = list[tuple[str, Page, Read, Read]]


async def compared(application: FastAPI, found: Equivalent, origins: list[str]) -> Compared:
    """What each page gets of the application, and with the policy."""
    ours = asks_corspolicy(found)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example.net") as client:
        theirs = asks_starlette(client)
        return [
            (origin, page, await read(page, origin, theirs), await read(page, origin, ours))
            for origin in origins
            for page in PAGES
        ]


def is_wider(theirs: Read, ours: Read) -> bool:
    return ours is not None and (theirs is None or not (ours <= theirs or "*" in theirs))


def is_narrower(theirs: Read, ours: Read) -> bool:
    return is_wider(ours, theirs)


def is_told(found: Equivalent, origin: str) -> bool:
    """Whether a note says that wildcards match hosts such as this one, which is no host name."""
    labels = origin.partition("://")[2].rpartition(":")[0] or origin.partition("://")[2]
    is_name = all(re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", label) for label in labels.split("."))
    return not is_name and any("not valid host names" in note for note in found.notes)


def test_there_are_forty_and_each_is_probed_with_a_hundred_origins() -> None:
    assert len({app.name for app in APPS}) == len(APPS) >= 40
    assert min(len(probes(app)) for app in APPS) >= 100


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_the_policy_is_never_wider_and_narrower_only_where_that_is_told(app: App) -> None:
    application = made(app)
    found = imported(application)
    assert sorted(found.values.get("allow_origins", [])) == sorted(app.origins)
    assert bool(found.left_out) == app.leaves_out, found.left_out
    is_any_read = False
    for origin, page, theirs, ours in asyncio.run(compared(application, found, probes(app))):
        is_any_read |= ours is not None
        if is_wider(theirs, ours):
            assert is_told(found, origin), (origin, page, theirs, ours)
        # Beyond a list of everyone, a policy reads origins strictly, as browsers write them.
        if is_narrower(theirs, ours) and Origin.parse(origin.encode("latin-1")) is not None:
            assert found.left_out, (origin, page, theirs, ours)
    assert is_any_read == bool(app.origins)


@pytest.mark.parametrize("app", [app for app in APPS if app.leaves_out], ids=lambda app: app.name)
def test_who_asks_for_the_nearest_gets_it(app: App) -> None:
    application = made(app)
    narrower, wider = (imported(application, nearest) for nearest in (Nearest.NARROWER, Nearest.WIDER))
    assert (narrower.left_out, narrower.values) == ([], imported(application).values)
    for origin, page, theirs, ours in asyncio.run(compared(application, wider, probes(app))):
        if is_narrower(theirs, ours) and Origin.parse(origin.encode("latin-1")) is not None:
            assert wider.left_out, (origin, page, theirs, ours)
