"""`corspolicy probe` against servers that behave: ours and Starlette's; what it sends, prints and rejects."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from policy_service.cli.main import main
from policy_service.cli.probe import sending
from tests.cli.probe.probing import ORIGIN, STRANGER, json_of, outcome, probe
from tests.scripted import Scripted
from tests.support import free_port


@pytest.mark.parametrize("server", ["ours", "starlettes"])
@pytest.mark.parametrize(
    ("origin", "options", "code", "reason"),
    [
        (ORIGIN, (), 0, "allowed"),
        (ORIGIN, ("--credentials",), 0, "allowed"),
        (ORIGIN, ("--method", "put", "--header", "X-Own: 1"), 0, "allowed"),
        (ORIGIN, ("--method", "PUT", "--header", "Authorization: Bearer x", "--credentials"), 0, "allowed"),
        (ORIGIN, ("--method", "PUT", "--preflight-only"), 0, "allowed"),
        (STRANGER, (), 3, "allow_origin_missing"),
        (STRANGER, ("--method", "POST", "--header", "Content-Type: text/plain"), 3, "allow_origin_missing"),
        (STRANGER, ("--method", "PUT"), 3, "preflight_status"),
        (ORIGIN, ("--method", "DELETE"), 3, "preflight_status"),
        (ORIGIN, ("--header", "X-Other: 1"), 3, "preflight_status"),
        ("null", (), 3, "allow_origin_missing"),
    ],
)
def test_well_behaved_servers(
    request: pytest.FixtureRequest, server: str, origin: str, options: tuple[str, ...], code: int, reason: str
) -> None:
    exit_code, said, found = outcome(request.getfixturevalue(server), *options, origin=origin)
    assert (exit_code, said) == (code, reason)
    assert not any(found.values())
    # Starlette's denials carry no Vary.
    assert not found or server == "starlettes"


def test_what_is_sent_is_what_a_browser_sends(ours: int, app: Scripted) -> None:
    app.take_seen()
    result = probe(ours, "--method", "PUT", "--header", "X-Own: 1", "--header", "Cookie: a=b", "--credentials")
    assert result.exit_code == 0, result.output
    # The preflights, this one and the one from another origin, never reach the application.
    assert app.take_seen() == [("PUT", "/", ORIGIN, None, None, None, "a=b")]
    sent = json_of(probe(ours, "--method", "PUT", "--header", "X-Own: 1", "--header", "Accept: a/b", "-o", "json"))
    preflight, actual = sent["exchanges"]
    assert preflight["request_headers"][1:3] == [
        ["access-control-request-method", "PUT"],
        ["access-control-request-headers", "x-own"],
    ]
    assert (preflight["method"], preflight["status"], preflight["preflight"]) == ("OPTIONS", 204, True)
    assert (actual["method"], actual["status"], actual["preflight"]) == ("PUT", 200, False)
    assert sent["from_other_origin"]["method"] == "OPTIONS"


def test_the_preflight_alone_reaches_no_application(ours: int, app: Scripted) -> None:
    app.take_seen()
    assert probe(ours, "--method", "PUT", "--preflight-only").exit_code == 0
    assert app.take_seen() == []
    assert "leave out --preflight-only" in probe(ours, "--preflight-only").stderr


def test_an_unsafe_request_is_sent_once(ours: int, app: Scripted) -> None:
    app.take_seen()
    assert probe(ours, "--method", "POST").exit_code == 0
    assert [seen[:3] for seen in app.take_seen()] == [("POST", "/", ORIGIN)]


def test_says_which_headers_the_page_may_read(ours: int) -> None:
    assert "The page may read these headers: x-total.\n" in probe(ours).output
    assert json_of(probe(ours, "-o", "json"))["readable_headers"] == ["x-total"]


def test_in_words(ours: int) -> None:
    lines = probe(ours, "--method", "PUT", origin=STRANGER).output.splitlines()
    assert lines[:6] == [
        "denied: The response to the preflight has status 403 and no Access-Control-Allow-Origin; browsers accept only "
        "200 to 299 for a preflight.",
        "",
        f"OPTIONS http://127.0.0.1:{ours}/",
        "  > accept: */*",
        "  > access-control-request-method: PUT",
        f"  > origin: {STRANGER}",
    ]
    assert "  < 403" in lines
    assert f"  > origin: {sending.OTHER_ORIGIN}" in lines


def test_a_page_on_https_calls_http() -> None:
    result = CliRunner().invoke(main, ["probe", "http://api.example.com/", "--origin", ORIGIN])
    assert result.exit_code == 3
    assert "mixed content" in result.output


@pytest.mark.parametrize("header", ["Authorization: Bearer s3cret", "X-Api-Key: s3cret", "Cookie: session=s3cret"])
@pytest.mark.parametrize("output", ["table", "json"])
def test_no_secret_is_printed(ours: int, header: str, output: str) -> None:
    options = ("--header", header, "--credentials", "-o", output)
    for result in (
        probe(ours, *options),
        probe(free_port(), *options),
        probe(ours, *options, path="/?token=s3cret"),
    ):
        assert "s3cret" not in result.output
    assert header.partition(":")[0].lower() in probe(ours, *options).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ftp://a.example/", "--origin", ORIGIN), "Invalid URL"),
        (("http://u:p@a.example/", "--origin", ORIGIN), "user name or password"),
        (("http://[::1/", "--origin", ORIGIN), "Invalid URL"),
        (("http://a.example/", "--origin", f"{ORIGIN}/"), "Invalid origin"),
        (("http://a.example/", "--origin", "https://APP.example.com"), "Invalid origin"),
        (("http://a.example/", "--origin", f"{ORIGIN}:443"), "Invalid origin"),
        (("http://a.example/", "--origin", "*"), "Invalid origin"),
        (("http://a.example/",), "Missing option '--origin'"),
        (("http://a.example/", "--origin", ORIGIN, "--method", "TRACE"), "Browsers never let a page send TRACE"),
        (("http://a.example/", "--origin", ORIGIN, "--method", "G T"), "Invalid --method 'G T'"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "Host: b"), "Browsers never let a page set host"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "s3cret"), "Invalid --header number 1"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "X: a\r\nY: b"), "Invalid --header number 1"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "X: s3cret\x7f"), "Invalid --header number 1"),
        (("http://a b.example/", "--origin", ORIGIN), "Invalid URL"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "X: \N{CRAB}"), "Invalid --header number 1"),
        (("http://a.example/", "--origin", ORIGIN, "--header", "Cookie: a=b"), "add --credentials"),
        (("http://a.example/", "--origin", ORIGIN, "--tenant", "acme"), "CORSPOLICY_API_KEY is not set"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], says: str) -> None:
    result = CliRunner(env={"CORSPOLICY_API_KEY": ""}).invoke(main, ["probe", *arguments], catch_exceptions=False)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "s3cret" not in result.output
