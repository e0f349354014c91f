"""The vectors through the middleware, over HTTP under uvicorn with each of its two parsers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from corspolicy import CORSPolicyMiddleware
from corspolicy.testing import FixedPolicies
from policy_service.cli.probe.judge import Response, cors_check, preflight_check
from tests import vectors
from tests.client.uvicorns import exchange, serving
from tests.vectors import Vector

CASES = [case for case in vectors.load(*vectors.DECISIONS) if case.get("over_http", True)]


def _application(case: Vector) -> CORSPolicyMiddleware:
    answer = case.get("app", {})
    lines = [(name.encode(), value.encode()) for name, value in answer.get("headers", [])]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen = b" ".join(sorted({name for name, _ in scope["headers"]}))
        headers = [(b"x-app", b"called"), (b"x-seen", seen), *lines]
        await send({"type": "http.response.start", "status": answer.get("status", 200), "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    policies = FixedPolicies(case["policies"])
    return CORSPolicyMiddleware(app, service=case["service"], tenant=case["tenant"], policies=policies)


@pytest.fixture(scope="module", params=["h11", "httptools"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    applications = [_application(case) for case in CASES]

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        await applications[int(scope["path"][1:])](scope, receive, send)

    with serving(dispatch, http=request.param, lifespan="off") as port:
        yield port


@pytest.mark.parametrize("index", range(len(CASES)), ids=[vectors.name_of(case) for case in CASES])
def test_wire(port: int, index: int) -> None:
    case = CASES[index]
    status, lines = exchange(port, case["request"]["method"], f"/{index}", vectors.lines(case))
    expected = case["expect"]
    _assert_concluded(case, Response(status, tuple(lines)))
    cors = [(name, value) for name, value in lines if name.startswith("access-control-") or name == "vary"]
    assert dict(cors) == case.get("wire_headers", expected["headers"])
    assert len(cors) == len(dict(cors)), "one line each"
    if expected["status"] is None:
        assert status == case.get("app", {}).get("status", 200)
        assert ("x-app", "called") in lines
        seen = set(dict(lines)["x-seen"].encode().split())
        assert {name for name, _ in vectors.lines(case)} - seen == vectors.hidden(case)
    else:
        assert status == expected["status"]
        assert ("content-length", "0") in lines
        assert ("x-app", "called") not in lines


def _assert_concluded(case: Vector, response: Response) -> None:
    """What a browser concludes from the response is what the vector expects, without credentials and with them."""
    request: dict[str, str] = {}
    for name, value in case["request"]["headers"]:
        request[name.lower()] = f"{request[name.lower()]}, {value}" if name.lower() in request else value
    if "origin" not in request:
        return
    expected = case["expect"]
    allows_credentials = expected["headers"].get("access-control-allow-credentials") == "true"
    method = request.get("access-control-request-method")
    names = request.get("access-control-request-headers", "").split(",")
    headers = tuple((name.strip(), "x") for name in names if name.strip())
    for credentials in (False, True):
        if method is None or case["request"]["method"] != "OPTIONS":
            denial = cors_check(request["origin"].strip(), response, credentials=credentials)
        else:
            denial = preflight_check(request["origin"], method, headers, response, credentials=credentials)
        assert (denial is None) == (expected["allowed"] and (allows_credentials or not credentials)), denial
