"""What an application's CORSMiddleware does, and what the policy made of it does: the same, or it is told."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.validation import check
from policy_service.cli.cors_import.equivalent import equivalent
from policy_service.cli.cors_import.findings import Equivalent, Nearest
from policy_service.documents.domains import is_public_suffix, to_ascii

A = "https://a.example.com"
ORIGINS = [
    A, "https://b.a.example.com", "https://example.com", "http://localhost", "http://localhost:3000",
    "https://a.example.com:8443", "https://evil.com", "http://a.example.com", "null",
]  # fmt: skip
LISTED = st.sampled_from([*ORIGINS[:-1], "*", f"{A}/", "https://*.example.com", "HTTPS://a.example.com", None])
REGEXES = st.sampled_from(
    [
        r"https://.*\.example\.com",
        r"https?://localhost(:\d+)?",
        r"https://(a|b)\.example\.com(:8443)?",
        ".*",
        r"https://x.com",
        r"https://[a-z]+\.example\.com",
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
        "expose_headers": st.lists(st.sampled_from(["X-Total", "x-page", "*"]), max_size=2),
        "max_age": st.sampled_from([-1, 0, 600, 100_000, None]),
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
@settings(max_examples=300, deadline=None)
@example({"allow_methods": ["HEAD", "POST"]}, A, "GET", [])
def test_the_policy_allows_what_the_middleware_allows(
    arguments: dict[str, Any], origin: str, method: str, headers: list[str] | None
) -> None:
    middleware = _made(**arguments)
    found = equivalent(middleware)
    does = _starlette_allows(middleware, origin, method, headers)
    will = _corspolicy_allows(found, origin, method, headers)
    if headers is not None and method in ("GET", "HEAD", "POST") and method not in middleware.allow_methods:
        assert any(f"{method}" in note and "A policy always allows" in note for note in found.notes)
    elif found.left_out:
        assert does or not will
    else:
        assert does == will


def test_what_is_left_to_defaults_means_the_same() -> None:
    found = equivalent(_made(allow_origins=[A]))
    assert found.values == {
        "allow_origins": [A],
        "allow_headers": ["accept", "accept-language", "content-language", "content-type"],
        "max_age": 600,
    }
    assert found.left_out == []
    assert found.notes == [
        "allow_methods: HEAD, POST will be allowed as well. A policy always allows GET, HEAD and POST, which browsers "
        "send without asking."
    ]


@pytest.mark.parametrize("credentials", [True, False])
def test_any_method_and_any_header_are_what_starlette_means_by_them(credentials: bool) -> None:
    found = equivalent(
        _made(allow_origins=[A], allow_methods=["*"], allow_headers=["*"], allow_credentials=credentials)
    )
    assert {"DELETE", "OPTIONS", "PATCH", "PUT"} <= set(found.values["allow_methods"])
    assert "*" not in found.values["allow_methods"]
    assert found.values["allow_headers"] == (["*"] if credentials else ["*", "authorization"])
    assert found.notes == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"allow_origins": ["*"], "allow_credentials": True}, "any site that a user visits can act as that user"),
        ({"allow_origin_regex": ".*", "allow_credentials": True}, "any site that a user visits can act as that user"),
        ({"allow_origin_regex": "https://a.example.com"}, r"write `\.` for a dot"),
        ({"allow_origin_regex": "null|https://a[.]example[.]com"}, "also matches `null`"),
        ({"allow_origin_regex": r"https://(?!b).*\.example\.com"}, "a lookahead or lookbehind"),
        ({"allow_origin_regex": "https://*.example.com"}, "corspolicy origins add TENANT 'https://*.example.com'"),
        ({"allow_origin_regex": r"https://[a-z]+\.vercel\.app"}, "corspolicy origins add TENANT ORIGIN --expires 3d"),
        ({"allow_origin_regex": r"https://(.*a.{40}){3}\.com"}, "too complex"),
        ({"allow_origins": ["null"]}, "any sandboxed page"),
        ({"allow_origins": ["http://a!b.example.com"]}, "an origin that no policy can list"),
        ({"allow_origins": A}, "allow_origins is a text, not a list"),
        ({"allow_origins": A}, "also allows https://a.example.co, for example"),
        ({"expose_headers": ["*"], "allow_credentials": True}, "requests without credentials"),
    ],
)
def test_what_no_policy_means_is_left_out_and_told(arguments: dict[str, Any], said: str) -> None:
    (left_out,) = equivalent(_made(**arguments)).left_out
    assert said in left_out
    narrower = equivalent(_made(**arguments), Nearest.NARROWER)
    assert narrower.left_out == []
    assert left_out in narrower.notes


class _Address:
    def __repr__(self) -> str:
        return "Address()"

    def __str__(self) -> str:
        return f"{A}/"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"allow_origins": [f"{A}/"]}, f"If you mean {A}, add it"),
        ({"allow_origins": ["https://*.example.com"]}, "does not take `*` here as a wildcard"),
        ({"allow_origins": [None]}, "None is not a text and never equals an Origin header"),
        ({"allow_origins": [_Address()]},
         f"Address() is not a text and never equals an Origin header: it is left out. If you mean {A}"),
        ({"allow_origins": [f"{A}:443"]}, "the default port"),
        ({"allow_origins": ["https://xn--a-.example"]}, "not a valid A-label"),
        ({"allow_origins": "a.example.com"}, "no origin is in 'a.example.com'"),
        ({"allow_origins": (origin for origin in [A])}, "generator, which is read to its end at once"),
        ({"allow_origin_regex": r"^https://.*\\.example\\.com$"}, r"If you mean https://*.example.com, write ^https://.*\.example\.com$."),
        ({"allow_origin_regex": r"https://A\.example\.com"}, f"If you mean {A}, write https://a"),
        ({"allow_origin_regex": r"https://a\.example\.com/"}, f"If you mean {A}, write https://a\\.example\\.com."),
        ({"allow_origin_regex": r"a\.example\.com"}, f"If you mean {A}, write https://a"),
        ({"allow_origin_regex": re.compile(b"https://a")}, "a pattern of bytes"),
        ({"allow_origin_regex": "http://localhost:*"}, "It is a glob"),
        ({"allow_origin_regex": r"https://([a-z0-9-]+\.)+example\.com"}, "https://_.example.com"),
        ({"allow_methods": ["GET", "HEAD", "POST", "put"]}, "browsers send PUT"),
        ({"allow_methods": "GET, PUT"}, "allow_methods is a text, not a list"),
        ({"allow_methods": ["GET, PUT"]}, "'PUT' is left out: it is not an entry of its own"),
        ({"allow_headers": ["Cookie"]}, "Browsers never let a page set cookie"),
        ({"allow_headers": "X-Token"}, "allow_headers is a text, not a list"),
        ({"expose_headers": ["Set-Cookie"]}, "Browsers never show set-cookie"),
        ({"expose_headers": "X-Total"}, "expose_headers is a text, not a list"),
        ({"max_age": 90_000}, "max_age: browsers read 90000 as 86400"),
        ({"max_age": None}, "max_age: None is not a whole number of seconds"),
        ({"max_age": 600.5}, "max_age: 600.5 is not a whole number of seconds"),
        ({"allow_origins": ["http://a.example.com"], "allow_credentials": True},
         "dangerously_allow_insecure_origins is set"),
        ({"allow_private_network": True}, "allow_private_network is left out"),
    ],
)  # fmt: skip
def test_what_does_nothing_is_left_out_with_a_note(arguments: dict[str, Any], said: str) -> None:
    found = equivalent(_made(**arguments))
    assert found.left_out == []
    assert any(said in note for note in found.notes), found.notes


@pytest.mark.parametrize(
    ("arguments", "setting", "value"),
    [
        ({"expose_headers": ["Authorization", "X-Total"]}, "expose_headers", ["Authorization", "X-Total"]),
        ({"expose_headers": ["X-Page, X-Total"]}, "expose_headers", ["X-Page", "X-Total"]),
        ({"expose_headers": ["*"]}, "expose_headers", ["*"]),
        ({"allow_origins": ["app://.", "capacitor://localhost"]}, "allow_origins", ["app://.", "capacitor://localhost"]),
        ({"allow_origins": {A: "a site"}}, "allow_origins", [A]),
        ({"allow_methods": ["PATCH", "patch", "PATCH"]}, "allow_methods", ["PATCH", "patch"]),
        ({"max_age": "300"}, "max_age", 300),
        ({"max_age": -1}, "max_age", 0),
    ],
)  # fmt: skip
def test_what_is_kept(arguments: dict[str, Any], setting: str, value: object) -> None:
    found = equivalent(_made(**arguments))
    assert (found.values[setting], found.left_out) == (value, [])


def test_the_wider_patterns_are_taken_only_if_they_are_asked_for() -> None:
    middleware = _made(allow_origins=[A], allow_origin_regex=r"http://localhost:\d{4}", allow_credentials=True)
    (left_out,) = equivalent(middleware).left_out
    assert "narrower, as printed: none; it leaves out http://localhost:1000" in left_out
    assert "wider: http://localhost:*; it also matches http://localhost, for example" in left_out
    wider = equivalent(middleware, Nearest.WIDER)
    assert (wider.left_out, wider.values["allow_origins"]) == ([], [A, "http://localhost:*"])
    assert any("it also matches http://localhost, for example" in note for note in wider.notes)
    # Where there are none, it is left out as before.
    assert equivalent(_made(allow_origins=["null"]), Nearest.WIDER).left_out != []


class _Suffix(CORSMiddleware):
    def is_allowed_origin(self, origin: str) -> bool:
        return origin.endswith(".example.com")


class _Dynamic:
    def __contains__(self, origin: str) -> bool:
        return origin == A


@pytest.mark.parametrize("middleware", [_Suffix(_nothing, allow_origins=[A]), _made(allow_origins=_Dynamic())])
def test_a_rule_in_code_is_not_guessed(middleware: CORSMiddleware) -> None:
    found = equivalent(middleware)
    assert "allow_origins" not in found.values
    (left_out,) = found.left_out
    assert "decides with code of its own" in left_out
