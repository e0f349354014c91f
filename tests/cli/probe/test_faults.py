"""`corspolicy probe` against real servers and proxies that misbehave: each fault is found and named."""

from __future__ import annotations

import pytest

from tests.cli.probe.probing import ORIGIN, STRANGER, outcome, probe
from tests.cli.probe.proxies import Proxy
from tests.client.uvicorns import serving
from tests.scripted import Answer, Scripted

ALLOWED = [("Access-Control-Allow-Origin", "{origin}"), ("Vary", "Origin")]
HTML = [("Content-Type", "text/html; charset=utf-8")]


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (Answer(401, [("WWW-Authenticate", "Bearer")]), "preflight_unauthorized"),
        (Answer(407), "preflight_unauthorized"),
        (Answer(404), "preflight_not_found"),
        (Answer(405, [("Allow", "GET, PUT")]), "preflight_method_not_allowed"),
        (Answer(502, HTML), "preflight_server_error"),
        (Answer(200, HTML), "preflight_answered_with_page"),
        (Answer(302, [("Location", "https://login.example.com/?state=secret")]), "redirect"),
        (Answer(308, [("Location", "https://127.0.0.1/")]), "http_to_https"),
    ],
)
def test_something_in_front_answers_the_preflight(ours: int, answer: Answer, finding: str) -> None:
    with serving(Proxy(ours, {"OPTIONS": answer}), lifespan="off") as port:
        code, _, found = outcome(port, "--method", "PUT")
        output = probe(port, "--method", "PUT").output
    assert (code, found) == (4, {finding: True})
    assert "secret" not in output


def test_a_proxy_adds_a_second_allow_origin(ours: int) -> None:
    proxy = Proxy(ours, adds=[(b"access-control-allow-origin", b"*")])
    with serving(proxy, lifespan="off") as port:
        assert outcome(port) == (4, "allow_origin_repeated", {"header_repeated": True})
        assert f"2 lines of Access-Control-Allow-Origin, {ORIGIN} and *" in probe(port).output
        assert outcome(port, "--method", "PUT")[:2] == (4, "allow_origin_repeated")


def test_a_cache_ignores_the_origin(ours: int) -> None:
    with serving(Proxy(ours, caches=True), lifespan="off") as port:
        # The first answer is right, and what another origin then gets is it.
        assert outcome(port) == (4, "allowed", {"cached_answer": True})
        code, reason, found = outcome(port, origin=STRANGER)
        assert (code, reason, found) == (4, "allow_origin_other", {"cached_answer": True})
        assert (
            f"(age: 17) answers the request from {STRANGER} with a stored response made for {ORIGIN}"
            in probe(port, origin=STRANGER).output
        )


def test_a_cache_stored_a_response_without_the_header(ours: int) -> None:
    with serving(Proxy(ours, caches=True), lifespan="off") as port:
        assert outcome(port, origin=STRANGER)[0] == 3
        # Perhaps it was the right one: only a policy can tell.
        assert outcome(port) == (3, "allow_origin_missing", {"cached_answer": False})


def test_a_missing_vary(ours: int) -> None:
    with serving(Proxy(ours, removes=[b"vary"]), lifespan="off") as port:
        code, reason, found = outcome(port)
    assert (code, reason, found) == (4, "allowed", {"vary_origin_missing": True})


@pytest.mark.parametrize(
    "lines",
    [
        [("Access-Control-Allow-Origin", ORIGIN)],
        [("Access-Control-Allow-Origin", "*")],
        [("Access-Control-Allow-Origin", "{origin}"), ("Vary", "*"), ("Age", "0")],
        [("Access-Control-Allow-Origin", "{origin}"), ("Vary", "Accept, ORIGIN")],
        [("Access-Control-Allow-Origin", "{origin}"), ("Cache-Control", "private, no-store")],
    ],
)
def test_no_vary_is_missed_where_it_changes_nothing(lines: list[tuple[str, str]]) -> None:
    with serving(Scripted({("GET", "/"): Answer(200, lines)}), lifespan="off") as port:
        code, reason, found = outcome(port)
    assert (code, reason) == (0, "allowed")
    assert "vary_origin_missing" not in found


@pytest.mark.parametrize("is_fault", [False, True])
def test_any_origin_is_reflected(is_fault: bool) -> None:
    lines = [*ALLOWED, *([("Access-Control-Allow-Credentials", "true")] if is_fault else [])]
    with serving(Scripted({("GET", "/"): Answer(200, lines)}), lifespan="off") as port:
        assert outcome(port) == (4 if is_fault else 0, "allowed", {"any_origin_allowed": is_fault})


def test_an_error_without_the_headers_is_called_an_error(ours: int) -> None:
    with serving(Proxy(ours, {"GET": Answer(500), "PUT": Answer(429)}), lifespan="off") as port:
        assert outcome(port) == (4, "allow_origin_missing", {"error_without_cors": True})
        assert outcome(port, "--method", "PUT") == (4, "allow_origin_missing", {"error_without_cors": True})
        assert "the fault is the error" in probe(port).output
    # With the headers it is the page's to handle.
    assert outcome(ours, path="/missing") == (0, "allowed", {})


def test_redirects(ours: int) -> None:
    there = Scripted({("GET", "/"): Answer(200, [("Access-Control-Allow-Origin", ORIGIN)])})
    with serving(there, lifespan="off") as other:
        target = f"http://127.0.0.1:{other}/"
        here = {("GET", "/same"): "/final", ("GET", "/other"): target, ("GET", "/star"): f"{target}?code=secret"}
        answers = {key: Answer(302, [*ALLOWED, ("Location", value)]) for key, value in here.items()}
        answers["GET", "/final"] = Answer(200, ALLOWED)
        with serving(Scripted(answers), lifespan="off") as port:
            code, reason, found = outcome(port, path="/same")
            assert (code, reason, found["redirect"]) == (0, "allowed", False)
            code, reason, found = outcome(port, path="/other")
            assert (code, reason, found["redirect"]) == (4, "allow_origin_other", True)
            there.answers = {("GET", "/"): Answer(200, [("Access-Control-Allow-Origin", "*")])}
            result = probe(port, path="/star")
    assert result.exit_code == 0
    assert "  > origin: null\n" in result.output
    assert "secret" not in result.output
