"""What an application's CORSMiddleware does, and what the policy made of it does: the same."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.validation import check
from policy_service.cli.cors_import.starlette_cors import Equivalent, equivalent, find
from policy_service.documents.domains import is_public_suffix, to_ascii

ORIGINS = [
    "https://a.example.com", "https://b.a.example.com", "https://example.com", "http://localhost", "http://localhost:3000",
    "https://a.example.com:8443", "https://evil.com", "http://a.example.com", "null",
]  # fmt: skip
LISTED = st.sampled_from(
    [*ORIGINS[:-1], "*", "https://a.example.com/", "https://*.example.com", "HTTPS://a.example.com"]
)
REGEXES = st.sampled_from(
    [
        r"https://.*\.example\.com",
        r"https?://localhost(:\d+)?",
        r"https://(a|b)\.example\.com(:8443)?",
        ".*",
        r"https://x.com",
    ]
)
# What browsers ask for: normalized methods, lower-case names in order.
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "patch", "PURGE"]
HEADERS = ["accept", "authorization", "content-type", "x-token"]
NAMES = st.sampled_from(["Authorization", "X-Token", "*", "content-type", "Cookie", "Origin"])
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "allow_origins": st.lists(LISTED, max_size=3),
        "allow_origin_regex": REGEXES,
        "allow_credentials": st.booleans(),
        "allow_methods": st.lists(st.sampled_from([*METHODS, "*", "put"]), max_size=4),
        "allow_headers": st.lists(NAMES, max_size=3),
        "expose_headers": st.lists(st.sampled_from(["X-Total", "x-page"]), max_size=2),
        "max_age": st.sampled_from([-1, 0, 600, 100_000]),
    },
)


async def _nothing(*_: Any) -> None: ...


def _made(**settings: Any) -> CORSMiddleware:
    return CORSMiddleware(_nothing, **settings)


def _starlette_allows(middleware: CORSMiddleware, origin: str, method: str, headers: list[str] | None) -> bool:
    if headers is None:
        return middleware.is_allowed_origin(origin)
    asked = {"origin": origin, "access-control-request-method": method}
    if headers:
        asked["access-control-request-headers"] = ",".join(headers)
    return middleware.preflight_response(Headers(asked)).status_code == 200


def _corspolicy_allows(found: Equivalent, origin: str, method: str, headers: list[str] | None) -> bool:
    checked = check(found.values, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
    assert checked.policy is not None, checked.errors
    lines = [(b"origin", origin.encode())]
    if headers is not None:
        lines.append((b"access-control-request-method", method.encode()))
        if headers:
            lines.append((b"access-control-request-headers", ",".join(headers).encode()))
    chain = Chain([CompiledPolicy("platform", "default", checked.policy)])
    return decide(chain, "GET" if headers is None else "OPTIONS", lines, time.time()).allowed


@given(
    SETTINGS,
    st.sampled_from(ORIGINS),
    st.sampled_from(METHODS),
    st.none() | st.lists(st.sampled_from(HEADERS), unique=True, max_size=3).map(sorted),
)
@settings(max_examples=500, deadline=None)
@example({"allow_methods": ["HEAD", "POST"]}, "https://a.example.com", "GET", [])
def test_the_policy_allows_what_the_middleware_allows(
    arguments: dict[str, Any], origin: str, method: str, headers: list[str] | None
) -> None:
    middleware = _made(**arguments)
    found = equivalent(middleware)
    does = _starlette_allows(middleware, origin, method, headers)
    will = _corspolicy_allows(found, origin, method, headers)
    if found.refusals:
        assert does or not will or _is_safelisted(middleware, method, headers)
    elif _is_safelisted(middleware, method, headers):
        assert any("Browsers ask no permission for these methods" in note for note in found.notes)
    else:
        assert does == will


def _is_safelisted(middleware: CORSMiddleware, method: str, headers: list[str] | None) -> bool:
    """Whether a preflight asks for a method that passes with corspolicy, listed or not."""
    return headers is not None and method in ("GET", "HEAD", "POST") and method not in middleware.allow_methods


def test_what_is_left_to_defaults_means_the_same() -> None:
    found = equivalent(_made(allow_origins=["https://a.example.com"]))
    assert found.values == {
        "allow_origins": ["https://a.example.com"],
        "allow_headers": ["accept", "accept-language", "content-language", "content-type"],
        "max_age": 600,
    }
    assert found.refusals == []
    assert found.notes == ["allow_methods: HEAD, POST will pass, too. Browsers ask no permission for these methods."]


@pytest.mark.parametrize("credentials", [True, False])
def test_any_method_and_any_header_are_what_starlette_means_by_them(credentials: bool) -> None:
    found = equivalent(
        _made(
            allow_origins=["https://a.example.com"], allow_methods=["*"], allow_headers=["*"],
            allow_credentials=credentials,
        )
    )  # fmt: skip
    assert {"DELETE", "OPTIONS", "PATCH", "PUT"} <= set(found.values["allow_methods"])
    assert "*" not in found.values["allow_methods"]
    assert found.values["allow_headers"] == (["*"] if credentials else ["*", "authorization"])
    assert found.notes == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"allow_origins": ["*"], "allow_credentials": True}, "any site that a user visits may act as that user"),
        ({"allow_origin_regex": ".*", "allow_credentials": True}, "any site that a user visits may act as that user"),
        ({"allow_origin_regex": "https://a.example.com"}, r"Write https://a\.example\.com"),
        ({"allow_origins": ["null"]}, "any sandboxed page"),
    ],
)
def test_what_no_policy_can_say_is_refused_with_what_to_do(arguments: dict[str, Any], said: str) -> None:
    (refusal,) = equivalent(_made(**arguments)).refusals
    assert said in refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"allow_origins": ["https://a.example.com/"]}, "If it is meant, admit https://a.example.com."),
        ({"allow_origins": ["https://*.example.com"]}, "knows no wildcards here"),
        ({"allow_methods": ["GET", "HEAD", "POST", "put"]}, "browsers send PUT"),
        ({"allow_headers": ["Cookie"]}, "Browsers never let a page set cookie"),
        ({"expose_headers": ["Set-Cookie"]}, "Browsers never show set-cookie"),
        ({"max_age": 90_000}, "max_age: 90000 is 86400 to every browser"),
        (
            {"allow_origins": ["http://a.example.com"], "allow_credentials": True},
            "dangerously_allow_insecure_origins is set",
        ),
    ],
)
def test_what_does_nothing_is_left_out_with_a_note(arguments: dict[str, Any], said: str) -> None:
    found = equivalent(_made(**arguments))
    assert found.refusals == []
    assert any(said in note for note in found.notes), found.notes


def test_a_middleware_is_found_wherever_it_stands() -> None:
    added = FastAPI()
    added.add_middleware(CORSMiddleware, allow_origins=["https://a.example.com"])
    given_to_it = Starlette(middleware=[Middleware(CORSMiddleware, allow_origins=["https://a.example.com"])])
    around = CORSMiddleware(FastAPI(), allow_origins=["https://a.example.com"])
    beneath = _Wrapped(_Wrapped(added))
    mounted = FastAPI()
    mounted.mount("/v1", added)
    around_a_mount = Starlette(
        routes=[
            Mount(
                "/v1", app=FastAPI(), middleware=[Middleware(CORSMiddleware, allow_origins=["https://a.example.com"])]
            )
        ]
    )
    for app in (added, given_to_it, around, beneath, mounted, around_a_mount):
        (found,) = find(app)
        assert found.middleware.allow_origins == ["https://a.example.com"]
    assert next(find(mounted)).where == "what is mounted at /v1"
    assert list(find(FastAPI())) == []
    assert len(list(find(CORSMiddleware(added)))) == 2


def test_a_rule_in_code_is_refused() -> None:
    class Own(CORSMiddleware):
        def is_allowed_origin(self, origin: str) -> bool:
            return origin.endswith(".example.com")

    assert "Own decides on origins with code of its own" in equivalent(Own(_nothing)).refusals[0]


class _Wrapped:
    def __init__(self, app: Any) -> None:
        self.app = app
