"""The judge of `corspolicy probe` against Chromium: the same verdict, the same requests, the same readable headers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page as Tab

from policy_service.cli.probe import judge, sending
from tests.client.uvicorns import serving
from tests.scripted import Answer, Scripted

RANDOM_CASES = 150
# `fetch()` in the page: what it reads of the response, or null where the browser denies it.
_FETCH = """async ([url, init]) => {
    try { const got = await fetch(url, init); return [got.status, [...got.headers.keys()].sort()]; }
    catch { return null; }
}"""
ORIGINS = (
    *["{origin}"] * 4, *["*"] * 3, "{origin}/", "null", "http://localhost", "{origin}, *", "{origin} ", "", "**",
)  # fmt: skip
SAID = {
    "Access-Control-Allow-Credentials": ("true", "true", "true", "True", "1", "true, true"),
    "Access-Control-Allow-Methods": ("PUT", "*", "GET,PUT,DELETE", "delete", "POST"),
    "Access-Control-Allow-Headers": (
        "*, authorization",
        "x-a",
        "X-A, x-b, content-type",
        "authorization, x-a, content-type, *",
    ),
    "Access-Control-Expose-Headers": ("*", "X-Own", "x-own, x-other", "x own", "Set-Cookie, X-Own"),
}


@dataclass(frozen=True)
class Case:
    """What a page asks for, and what it gets: answers by method, those of a redirect's target by method and `+`."""

    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    credentials: bool = False
    answers: tuple[tuple[str, Answer], ...] = ()
    # Where the page asks: at the API, or at its own origin.
    place: str = "a"

    @property
    def init(self) -> dict[str, Any]:
        """What the page passes to `fetch()`."""
        credentials = "include" if self.credentials else "omit"
        return {"method": self.method, "headers": self.headers, "credentials": credentials}


@dataclass(frozen=True)
class Outcome:
    """What the page reads, status and header names, or None; and which requests the servers saw."""

    read: list[Any] | None
    asked: list[tuple[str | None, ...]]
    why: str = field(default="", compare=False)


def _headers(**lines: str) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in lines.items()]


ECHO = _headers(access_control_allow_origin="{origin}", access_control_allow_credentials="true")
STAR = _headers(access_control_allow_origin="*")
ALL = [*STAR, *_headers(access_control_allow_methods="*", access_control_allow_headers="*")]


def _redirected(status: int, target: str, method: str = "GET", **more: Any) -> Case:
    listed = _headers(
        access_control_allow_methods="PUT, DELETE", access_control_allow_headers="Authorization, Content-Type"
    )
    allowed = Answer(204, [*ECHO, *listed])
    then = tuple((f"{verb}+", Answer(200, ECHO)) for verb in ("GET", "POST", "PUT", "HEAD"))
    first = (method, Answer(status, [*ECHO, ("Location", target)]))
    return Case(method, answers=(("OPTIONS", allowed), first, ("OPTIONS+", allowed), *then), **more)


def _one(value: str, name: str = "Accept") -> Case:
    return Case(headers=((name, value),), answers=(("GET", Answer(200, STAR)), ("OPTIONS", Answer(204, STAR))))


CHOSEN = [
    # Redirects: to the same origin, to another one, to the page's own; of each status; with and without a preflight.
    *(_redirected(status, "{a}{path}+") for status in (301, 302, 303, 307, 308)),
    *(_redirected(status, "{b}{path}+") for status in (301, 302, 303, 307, 308)),
    *(_redirected(status, "{b}{path}+", "POST") for status in (301, 302, 303, 307, 308)),
    *(_redirected(status, "{a}{path}+", "PUT") for status in (301, 302, 303, 307, 308)),
    *(_redirected(status, "{b}{path}+", "PUT") for status in (302, 303, 307)),
    # Authorization goes no further than its origin; what describes a body goes with the body.
    *(_redirected(307, place + "{path}+", headers=(("Authorization", "x"),)) for place in ("{a}", "{b}")),
    *(
        _redirected(status, "{b}{path}+", "POST", headers=(("Content-Type", "application/json"),))
        for status in (301, 302, 303, 307)
    ),
    _redirected(303, "{b}{path}+", "HEAD"),
    _redirected(307, "{b}{path}+", "PUT", credentials=True),
    _redirected(302, "{page}{path}+"),
    *(_redirected(302, place + "{path}+", place="page") for place in ("{page}", "{a}")),
    _redirected(302, "ftp://example.com/"),
    _redirected(302, "http://[nowhere/"),
    _redirected(302, "{b_with_user}{path}+"),
    _redirected(302, "{a}{path}"),
    _redirected(302, "{a}{path}+", credentials=True),
    Case(answers=(("GET", Answer(302, ECHO)),)),
    Case(answers=(("GET", Answer(302, [("Location", "{a}{path}+")])), ("GET+", Answer(200, ECHO)))),
    Case(
        "PUT",
        answers=(("OPTIONS", Answer(302, [*ECHO, ("Location", "{a}{path}+")])), ("OPTIONS+", Answer(204, ALL))),
    ),
    # The safelists: a preflight or none.
    *(_one(value) for value in ("a" * 128, "a" * 129, 'x"y', "text/*;q=0.5", "a\tb", "(", "[", "é")),
    *(_one(value, "Accept-Language") for value in ("de-CH, de;q=0.9", "de_CH", "*")),
    *(_one(value, "Content-Language") for value in ("de", "de!")),
    *(
        _one(value, "Range")
        for value in ("bytes=0-99", "bytes=5-", "bytes=-5", "bytes=9-5", "bytes=0-1,3-4", "lines=0-9")
    ),
    *(
        _one(value, "Content-Type")
        for value in (
            "text/plain", "TEXT/Plain;charset=utf-8", "application/json", "multipart/form-data; boundary=x", "text",
            "text/plain;charset=\"x\"", "application/x-www-form-urlencoded", "text/plain, text/html", "",
        )
    ),
    _one("1", "X-Own"),
    _one("Bearer x", "Authorization"),
    Case(
        headers=tuple((name, "a" * 128) for name in ("Accept", "Accept-Language", "Content-Language")),
        answers=(("GET", Answer(200, STAR)),),
    ),
    # What a preflight may say.
    *(
        Case(
            "PUT",
            answers=(
                ("OPTIONS", Answer(200, [*STAR, ("Access-Control-Allow-Methods", value)])),
                ("PUT", Answer(200, STAR)),
            ),
        )
        for value in ("PUT", "put", "GET", "", "*", "PUT,", ",,PUT", "P UT", "PUT;", "GET, PUT")
    ),
    Case("PUT", answers=(("OPTIONS", Answer(404, ALL)), ("PUT", Answer(200, STAR)))),
    Case("PATCH", answers=(("OPTIONS", Answer(299, ALL)), ("PATCH", Answer(200, STAR)))),
    Case("patch", answers=(("OPTIONS", Answer(204, [*STAR, ("Access-Control-Allow-Methods", "PATCH")])),)),
    Case("PUT", answers=(("OPTIONS", Answer(204, ALL)), ("PUT", Answer(500)))),
    Case("HEAD", answers=(("HEAD", Answer(200, STAR)),)),
    Case("OPTIONS", answers=(("OPTIONS", Answer(200, ALL)),)),
]  # fmt: skip


# The one known difference. By the standard `*` does not include Authorization (section 4.8, step 7.6); Chromium warns.
AUTHORIZATION = Case(
    "GET", (("Authorization", "x"),), answers=(("OPTIONS", Answer(204, ALL)), ("GET", Answer(200, STAR)))
)


def _random_cases(generator: random.Random) -> Iterator[Case]:
    """Any combination of what servers say: mostly nearly right, so that each check decides now and then."""
    headers = [("X-A", "1"), ("Accept", "x"), ("Authorization", "y"), ("Content-Type", "a/b"), ("X-B", "2")]
    for _ in range(RANDOM_CASES):
        method = generator.choice(("GET", "POST", "PUT", "DELETE", "HEAD"))
        answers = (
            ("OPTIONS", _random_answer(generator, [200, 204, 204, 204, 403])),
            (method, _random_answer(generator, [200, 200, 404, 500])),
        )
        chosen = generator.sample(headers, generator.randrange(3))
        yield Case(method, tuple(chosen), generator.random() < 0.4, answers)


def _random_answer(generator: random.Random, statuses: Sequence[int]) -> Answer:
    origins = generator.choices(ORIGINS, k=generator.choice((0, 1, 1, 1, 1, 1, 1, 2)))
    lines = [("Access-Control-Allow-Origin", origin) for origin in origins]
    for name, values in SAID.items():
        if generator.random() < 0.8:
            lines.append((name, generator.choice(values)))
    lines += [("Content-Type", "text/plain"), ("X-Own", "1"), ("X-Other", "2"), ("Set-Cookie", "a=1")]
    return Answer(generator.choice(statuses), lines)


def _outcomes(page: Tab, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome, Outcome]]:
    """Each case with what Chromium makes of it, and what the judge does for a page of the same origin."""
    own, api = Scripted({}), Scripted({})
    with (
        serving(own, lifespan="off") as page_port,
        serving(api, lifespan="off") as a,
        serving(api, lifespan="off") as b,
        # Playwright keeps an event loop running in this thread.
        ThreadPoolExecutor(1) as thread,
    ):
        origin, address, other = f"http://localhost:{page_port}", f"http://127.0.0.1:{a}", f"127.0.0.1:{b}"
        places = {"page": origin, "a": address, "b": f"http://{other}", "b_with_user": f"http://u:p@{other}"}
        api.answers = _answers(cases, places)
        own.answers = {**api.answers, ("GET", "/"): Answer(200, [("Content-Type", "text/html")])}
        page.goto(origin)
        for index, case in enumerate(cases):
            asking = judge.Page(f"{places[case.place]}/{index}", origin, case.method, case.headers, case.credentials)
            read = page.evaluate(_FETCH, [asking.url, case.init])
            by_chromium = Outcome(read, api.take_seen())
            verdict = thread.submit(sending.browse, asking).result()
            concluded = [verdict.exchanges[-1].response.status, list(verdict.readable)] if verdict.allowed else None
            yield case, by_chromium, Outcome(concluded, api.take_seen(), verdict.message)


def test_the_judge_concludes_what_chromium_does(page: Tab) -> None:
    outcomes = list(_outcomes(page, [*CHOSEN, *_random_cases(random.Random(20))]))
    different = [each for each in outcomes if each[1] != each[2]]
    assert not different, "\n\n".join(map(str, [len(different), *different]))
    allowed = sum(by_judge.read is not None for _, _, by_judge in outcomes)
    assert 60 <= allowed <= len(outcomes) - 60


def test_by_the_standard_a_star_does_not_include_authorization(page: Tab) -> None:
    ((_, by_chromium, by_judge),) = _outcomes(page, [AUTHORIZATION])
    assert by_chromium.read == [200, []]
    assert by_judge.read is None
    assert "`*` does not include Authorization" in by_judge.why


def _answers(cases: Sequence[Case], places: dict[str, str]) -> dict[tuple[str, str], Answer]:
    """The answers of all cases, each at a path of its own, with the places that they redirect to filled in."""
    answers = {}
    for index, case in enumerate(cases):
        for name, answer in case.answers:
            method, plus, _ = name.partition("+")
            lines = []
            for key, value in answer.headers:
                for place, url in {**places, "path": f"/{index}"}.items() if key == "Location" else ():
                    value = value.replace(f"{{{place}}}", url)
                lines.append((key, value))
            answers[method, f"/{index}{plus}"] = Answer(answer.status, lines)
    return answers
