"""The judge on responses that take a certificate or another machine; tests/browser compares it with Chromium."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from policy_service.cli.probe.findings import findings
from policy_service.cli.probe.judge import Page, Reason, Request, Response, Verdict, fetch
from policy_service.cli.probe.report import Report
from policy_service.cli.probe.safelists import unsafe_request_header_names

ORIGIN = "https://app.example.com"
STAR = ("Access-Control-Allow-Origin", "*")
ECHO = ("Access-Control-Allow-Origin", ORIGIN)


def _play(page: Page, responses: Sequence[Response]) -> tuple[Verdict, list[Request]]:
    """Answer the requests of a fetch in order; every response has to be asked for."""
    steps = fetch(page)
    asked = []
    try:
        asked.append(next(steps))
        for response in responses:
            asked.append(steps.send(response))
    except StopIteration as end:
        assert len(asked) == len(responses)
        return end.value, asked
    raise AssertionError(f"one more request: {asked[-1]}")


def _sent(request: Request, name: str) -> str | None:
    return dict(request.headers).get(name)


def test_from_http_to_https_the_origin_becomes_null() -> None:
    page = Page("http://api.example.com/x", "http://app.example.com")
    listed = ("Access-Control-Allow-Origin", page.origin)
    moved = Response(301, (listed, ("Location", "https://api.example.com/x")))
    verdict, asked = _play(page, [moved, Response(200, (listed,))])
    assert (verdict.allowed, verdict.reason) == (False, Reason.ALLOW_ORIGIN_OTHER)
    assert [request.origin for request in asked] == [page.origin, "null"]
    (finding,) = findings(verdict, None, None)
    assert (finding.code, finding.is_fault) == ("http_to_https", True)
    assert "Have the page call the https address" in finding.message
    verdict, _ = _play(page, [moved, Response(200, (STAR,))])
    assert verdict.allowed
    assert [(each.code, each.is_fault) for each in findings(verdict, None, None)] == [("http_to_https", False)]


def test_a_page_on_https_calls_http_on_this_machine_alone() -> None:
    for url in ("http://api.example.com/", "http://10.0.0.1/", "http://localhost.example.com/"):
        assert _play(Page(url, ORIGIN), [])[0].reason is Reason.MIXED_CONTENT
    for url in ("http://localhost:8000/", "http://api.localhost/", "http://127.8.0.1/", "http://[::1]/"):
        assert _play(Page(url, ORIGIN), [Response(200, (STAR,))])[0].allowed
    down = Response(302, (STAR, ("Location", "http://api.example.com/")))
    assert _play(Page("https://api.example.com/", ORIGIN), [down])[0].reason is Reason.MIXED_CONTENT


def test_secrets_do_not_follow_a_redirect_to_another_origin() -> None:
    headers = (("Authorization", "Bearer x"), ("X-Own", "1"))
    page = Page("https://api.example.com/", ORIGIN, "GET", headers, credentials=True, cookie="a=b")
    yes = (ECHO, ("Access-Control-Allow-Credentials", "true"), ("Access-Control-Allow-Headers", "authorization, x-own"))
    null = (("Access-Control-Allow-Origin", "null"), *yes[1:])
    moved = Response(307, (*yes, ("Location", "https://elsewhere.example.net/")))
    verdict, asked = _play(page, [Response(204, yes), moved, Response(204, null), Response(200, null)])
    assert verdict.allowed
    assert [_sent(request, "Access-Control-Request-Headers") for request in asked] == [
        "authorization,x-own", None, "x-own", None,
    ]  # fmt: skip
    assert [_sent(request, "Authorization") for request in asked] == [None, "Bearer x", None, None]
    assert [_sent(request, "Cookie") for request in asked] == [None, "a=b", None, None]


def test_a_request_to_the_pages_own_origin_needs_no_permission() -> None:
    verdict, (request,) = _play(Page(f"{ORIGIN}/x", ORIGIN, "PUT", (("X-Own", "1"),)), [Response(200, (("X-A", "1"),))])
    assert (verdict.allowed, verdict.reason, verdict.readable) == (True, Reason.SAME_ORIGIN, ("x-a",))
    assert _sent(request, "Origin") == ORIGIN
    # The default port is the same origin.
    assert _play(Page(f"{ORIGIN}:443/", ORIGIN), [Response(200)])[0].reason is Reason.SAME_ORIGIN


def test_a_redirect_away_from_the_pages_own_origin_keeps_the_origin() -> None:
    moved = Response(302, (("Location", "https://api.example.com/"),))
    verdict, asked = _play(Page(f"{ORIGIN}/", ORIGIN), [moved, Response(200, (ECHO,))])
    assert (verdict.allowed, [_sent(request, "Origin") for request in asked]) == (True, [None, ORIGIN])


def test_many_safelisted_headers_together_are_unsafe() -> None:
    # Reached only by repeating one: each has at most 128 bytes.
    assert unsafe_request_header_names([("Accept", "a" * 128)] * 8) == []
    assert unsafe_request_header_names([("Accept", "a" * 128)] * 9) == ["accept"]


def test_a_redirect_without_a_location_is_the_response() -> None:
    verdict, _ = _play(Page("https://api.example.com/", ORIGIN), [Response(302, (ECHO,))])
    assert verdict.allowed


# What h11 lets through: visible bytes, spaces and tabs.
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


@given(VALUES, VALUES, VALUES)
@example("http://[::1", "", "")
@example("http://a:99999999/", "", "")
@example("//xn--/", "", "")
@example("mailto:a", "", "")
@example("http:///", "", "")
@example("https://\xff.example/", "", "")
def test_whatever_a_server_sends_there_is_a_verdict(location: str, listed: str, vary: str) -> None:
    page = Page("https://api.example.com/a/b", ORIGIN, "PUT", (("X-Own", "1"),))
    lists = [(f"Access-Control-{name}", listed) for name in ("Allow-Methods", "Allow-Headers", "Expose-Headers")]
    first = Response(204, (STAR, ("Access-Control-Allow-Methods", "*"), ("Access-Control-Allow-Headers", "*")))
    lines = (STAR, *lists, ("Location", location), ("Vary", vary), ("Age", vary), ("Cache-Control", vary))
    steps = fetch(page)
    next(steps)
    steps.send(first)
    verdict = None
    try:
        # Where it leads to again, until the browser gives up; or to a preflight that the lists do not allow.
        for _ in range(50):
            steps.send(Response(307, lines))
    except StopIteration as end:
        verdict = end.value
    assert verdict is not None
    report = Report(verdict, None, findings(verdict, None, None), None)
    assert json.dumps(report.to_json())
    assert all(line.isprintable() for line in report.to_text())
