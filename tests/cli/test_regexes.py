"""Regular expressions of origins: what is translated admits exactly the same; what is not says what to do."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.origins import Origin
from corspolicy.core.policy import OriginEntry, Policy
from policy_service.cli.cors_import.regexes import Untranslatable, translate
from tests.core.test_origin_properties import origins

LABELS = ["a", "b", "app", "example", "com", "appxexample", "xn--bcher-kva"]
# Near the expressions below, so that they meet; beside them, any origins that a browser may send.
HOSTS = st.lists(st.sampled_from(LABELS), min_size=1, max_size=5).map(".".join) | st.sampled_from(
    ["localhost", "127.0.0.1", "10.0.0.1", "[::1]", "a.1", "example.com.", "evilexample.com", "example.com.evil.com"]
)
NEAR = st.builds(
    "{}://{}{}".format, st.sampled_from(["https", "http", "app"]), HOSTS, st.sampled_from(["", ":8080", ":3000", ":1"])
)
ORIGINS = (NEAR | origins()).filter(lambda text: Origin.parse(text.encode()) is not None) | st.just("null")

SCHEMES = st.sampled_from(["https://", "https?://", "(http|https)://", "^https://", "(?:app|https)://", ".*://"])
PARTS = st.sampled_from(
    [
        r".*\.",
        r"(.*\.)?",
        r"(?:.+\.)?",
        r"(a|b)\.",
        r"a?",
        r"app\.",
        r"(app\.)?",
        r"[ab]\.",
        r"[a-c]{1,2}\.",
        ".*",
        r".+\.",
    ]
)
DOMAINS = st.sampled_from(
    [r"example\.com", r"(a|example)\.com", "example.com", "localhost", r"127\.0\.0\.1", r"\[::1\]", "1"]
)
PORTS = st.sampled_from(
    ["", r"(:\d+)?", r"(?::[0-9]*)?$", r":8080", r"(:8080)?", r":\d+", r"(:(8080|3000))?", ":.*", ".*"]
)
COMPOSED = st.builds("{}{}{}{}".format, SCHEMES, st.lists(PARTS, max_size=2).map("".join), DOMAINS, PORTS)
ANY_TEXT = st.text(alphabet=r"htps:/ab.com*+?()[]|\d^$:{1,5}-", max_size=24)


def admits(patterns: list[str], origin: str) -> bool:
    policy = Policy(allow_origins=tuple(map(OriginEntry, patterns)))
    return CompiledPolicy("acme", "default", policy).match(origin.encode(), time.time()) is not None


def translated(expression: str) -> list[str] | None:
    try:
        re.compile(expression)
    except (re.error, OverflowError):
        assume(False)
    try:
        return translate(expression)
    except Untranslatable:
        return None


@given(COMPOSED | st.lists(COMPOSED, min_size=2, max_size=2).map("|".join), st.lists(ORIGINS, min_size=20, max_size=60))
@settings(max_examples=200, deadline=None)
@example(r"https://\[::.*", ["https://[::1]"])
@example(r"https://.*", ["https://a.com", "null", "http://a.com"])
def test_what_is_translated_admits_what_the_expression_matches_and_nothing_else(
    expression: str, sent: list[str]
) -> None:
    patterns = translated(expression)
    if patterns is not None:
        for origin in sent:
            assert admits(patterns, origin) == (re.fullmatch(expression, origin) is not None), (patterns, origin)


@given(ANY_TEXT | st.from_regex(r"https?://[ab.\\*(|)?]{1,20}", fullmatch=True), st.lists(ORIGINS, max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_expression_is_translated_exactly_or_not_at_all(expression: str, sent: list[str]) -> None:
    patterns = translated(expression)
    if patterns is not None:
        for origin in sent:
            assert admits(patterns, origin) == (re.fullmatch(expression, origin) is not None), (patterns, origin)


@pytest.mark.parametrize(
    ("expression", "patterns"),
    [
        (r"https://.*\.example\.com", ["https://*.example.com"]),
        (r"https://.+\.example\.com", ["https://*.example.com"]),
        (r"https://(.*\.)?example\.com", ["https://example.com", "https://*.example.com"]),
        (r"^https://(a|b)\.example\.com$", ["https://a.example.com", "https://b.example.com"]),
        (r"https?://example\.com", ["http://example.com", "https://example.com"]),
        (r"http://(localhost|127\.0\.0\.1)(:\d+)?", ["http://localhost:*", "http://127.0.0.1:*"]),
        (r"https://.*\.example\.com(:[0-9]{1,5})?", ["https://*.example.com:*"]),
        (r"https://app[12]\.example\.com", ["https://app1.example.com", "https://app2.example.com"]),
        (r"https://a\.com:(3000|8080)", ["https://a.com:3000", "https://a.com:8080"]),
        (r"https://x\.com|https://.*\.y\.com", ["https://x.com", "https://*.y.com"]),
        (r"https://example\.com(:443)?/?", ["https://example.com"]),
        (r"https://Example\.com", []),
        (".*", ["*"]),
    ],
)
def test_what_is_translated(expression: str, patterns: list[str]) -> None:
    assert translate(expression) == patterns


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("https://app.example.com", r"Write https://app\.example\.com, which is https://app.example.com."),
        (r"https://.*.example.com", r"Write https://.*\.example\.com, which is https://*.example.com."),
        (r"https://.*example\.com", "also admits https://evilexample.com"),
        (r"https://example\.com.*", "also admits https://example.com.evil.com"),
        (r"https://[a-z0-9-]+\.example\.com", "one label or more"),
        (r"https://[^.]+\.example\.com", "one label or more"),
        (r"https://app-[a-z0-9]+\.vercel\.app", "corspolicy origins add TENANT ORIGIN --expires 3d"),
        (r"https://app-.*\.vercel\.app", "corspolicy origins add TENANT ORIGIN --expires 3d"),
        (r"http://localhost:\d+", "http://localhost:* admits http://localhost as well"),
        (r"https://.*", "every origin of https"),
        (r".*://a\.com", "scheme open"),
        (r"null|https://a\.com", "`null`"),
        (r"(?i)https://a\.com", "lower case"),
        (r"https://(?!evil).*\.a\.com", "assert not"),
        (r"https://.*\.0\.0\.1", "An address has no subdomains"),
        (r"https://[a-z]{3}\.a\.com", "more than 200 origins"),
        (r"https://(a\.)*b\.com", "without end"),
        (r"https://a{1000000}\.com", "without end"),
        (r"https://.\.com", "unescaped dot"),
    ],
)
def test_what_is_refused_says_what_to_do(expression: str, said: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        translate(expression)
    assert said in str(refused.value)
