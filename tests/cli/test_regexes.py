"""Regular expressions of origins: the patterns match the same, or are the nearest ones and say what differs."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.origins import Origin
from corspolicy.core.policy import OriginEntry, Policy
from policy_service.cli.cors_import import universe
from policy_service.cli.cors_import.languages import TooComplex
from policy_service.cli.cors_import.translation import Translation, translate
from tests.core.test_origin_properties import origins, patterns

LABELS = ["a", "b", "app", "example", "com", "appxexample", "xn--bcher-kva", "a_b", "-a", "preview-1", "preview-"]
# Near the expressions below, so that they meet; beside them, any origins that a browser may send.
HOSTS = st.lists(st.sampled_from(LABELS), min_size=1, max_size=5).map(".".join) | st.sampled_from(
    ["localhost", "127.0.0.1", "10.0.0.1", "[::1]", "a.1", "example.com.", "evilexample.com", "example.com.evil.com"]
)
NEAR = st.builds(
    "{}://{}{}".format, st.sampled_from(["https", "http", "app"]), HOSTS, st.sampled_from(["", ":8080", ":3000", ":1"])
)
ORIGINS = (NEAR | origins()).filter(lambda text: Origin.parse(text.encode()) is not None)

SCHEMES = st.sampled_from(
    ["https://", "https?://", "(http|https)://", "^https://", "(?:app|https)://", ".*://", "(?i:HTTP)s://", "app://"]
)
PARTS = st.sampled_from(
    [
        r".*\.",
        r"(.*\.)?",
        r"(?:.+\.)?",
        r"(a|b)\.",
        r"a?",
        r"app\.",
        r"[ab]\.",
        r"[a-c]{1,2}\.",
        ".*",
        r".+\.",
        r"([a-z0-9-]+\.)*",
        r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+",
        r"[\w-]+\.",
        r"([a-z]+\.)+",
        r"preview-[a-z0-9-]+\.",
        r"preview-[^.]+\.",
        r"(?!b)",
        r"\b",
    ]
)
DOMAINS = st.sampled_from(
    [r"example\.com", r"(a|example)\.com", "example.com", "localhost", r"127\.0\.0\.1", r"\[::1\]", "1", "[^/]+"]
)
PORTS = st.sampled_from(
    ["", r"(:\d+)?", r"(?::[0-9]*)?$", r":8080", r"(:8080)?", r":\d+", r"(:(8080|3000))?", ":.*", ".*", "/?"]
)
COMPOSED = st.builds("{}{}{}{}".format, SCHEMES, st.lists(PARTS, max_size=2).map("".join), DOMAINS, PORTS)
ANY_TEXT = st.text(alphabet=r"htps:/ab.com*+?()[]|\d^$:{1,5}-", max_size=24)


def allows(patterns: list[str], origin: str) -> bool:
    policy = Policy(allow_origins=tuple(map(OriginEntry, patterns)))
    return CompiledPolicy("acme", "default", policy).match(origin.encode(), time.time()) is not None


def translated(expression: str) -> Translation:
    try:
        return translate(re.compile(expression))
    except (re.error, OverflowError, TooComplex):
        assume(False)
        raise


def is_host_name(origin: str) -> bool:
    parsed = Origin.parse(origin.encode())
    assert parsed is not None
    labels = parsed.host.decode().strip("[]").rstrip(".").split(".")
    return all(re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", label) for label in labels)


def holds(expression: str, sent: list[str]) -> None:
    found = translated(expression)
    for origin in sent:
        is_matched = re.fullmatch(expression, origin) is not None
        is_allowed = allows(found.patterns, origin)
        if is_allowed and not is_matched:
            assert found.beside is not None
            assert not is_host_name(origin), (found, origin)
        if is_matched and not is_allowed:
            assert found.left_out is not None, (found, origin)
        if is_matched and found.wider is not None:
            assert allows(found.wider, origin), (found, origin)
    for witness, is_matched in ((found.beside, False), (found.wider_beside, False)):
        assert witness is None or (re.fullmatch(expression, witness) is not None) == is_matched
        assert witness is None or allows(found.wider or found.patterns, witness)
    if found.left_out is not None and "(?!" not in expression and r"\b" not in expression:
        assert re.fullmatch(expression, found.left_out), found
        assert not allows(found.patterns, found.left_out), found


@given(COMPOSED | st.lists(COMPOSED, min_size=2, max_size=2).map("|".join), st.lists(ORIGINS, min_size=20, max_size=60))
@settings(max_examples=40, deadline=None)
@example(r"https://\[::.*", ["https://[::1]"])
@example(r"https://.*", ["https://a.com", "http://a.com"])
@example(r"https://preview-[^.]+\.example\.com", ["https://preview-a_b.example.com", "https://preview-1.example.com"])
def test_the_patterns_match_the_same_or_it_is_told(expression: str, sent: list[str]) -> None:
    holds(expression, sent)


@given(ANY_TEXT | st.from_regex(r"https?://[ab.\\*(|)?]{1,20}", fullmatch=True), st.lists(ORIGINS, max_size=40))
@settings(max_examples=40, deadline=None)
def test_that_holds_for_any_expression(expression: str, sent: list[str]) -> None:
    holds(expression, sent)


@given(patterns(), st.lists(ORIGINS, min_size=10, max_size=40))
@settings(max_examples=40, deadline=None)
def test_the_languages_agree_with_the_core(pattern: str, sent: list[str]) -> None:
    for origin in sent:
        scheme, _, authority = origin.partition("://")
        assert authority in universe.authorities(scheme)
        assert (authority in universe.matched(scheme, [pattern])) == allows([pattern], origin)


@given(st.text(alphabet="0x19afz-_.:[]", min_size=1, max_size=12), st.sampled_from(["https", "http", "app"]))
def test_no_other_authority_is_in_the_languages(authority: str, scheme: str) -> None:
    is_origin = Origin.parse(f"{scheme}://{authority}".encode()) is not None
    # An IPv6 address may be in another form than the canonical one.
    assert (authority in universe.authorities(scheme)) == is_origin or "[" in authority


@pytest.mark.parametrize(
    ("expression", "patterns"),
    [
        (r"https://.*\.example\.com", ["https://*.example.com"]),
        (r"https://.+\.example\.com", ["https://*.example.com"]),
        (r"https://[^/]+\.example\.com", ["https://*.example.com"]),
        (r"https://(.*\.)?example\.com", ["https://*.example.com", "https://example.com"]),
        (r"https://([a-z0-9-]+\.)*example\.com", ["https://*.example.com", "https://example.com"]),
        (r"https://([\w-]+\.)+example\.com", ["https://*.example.com"]),
        (r"https://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+example\.com", ["https://*.example.com"]),
        (r"^https://(a|b)\.example\.com$", ["https://a.example.com", "https://b.example.com"]),
        (r"https?://example\.com", ["http://example.com", "https://example.com"]),
        (r"http://(localhost|127\.0\.0\.1)(:\d+)?", ["http://127.0.0.1:*", "http://localhost:*"]),
        (r"https?://\[::1\](:\d+)?", ["http://[::1]:*", "https://[::1]:*"]),
        (r"https://.*\.example\.com(:[0-9]{1,5})?", ["https://*.example.com:*"]),
        (r"https://.*\.example\.com(:8443)?", ["https://*.example.com", "https://*.example.com:8443"]),
        (r"https://app[12]\.example\.com", ["https://app1.example.com", "https://app2.example.com"]),
        (r"https://a\.com:(3000|8080)", ["https://a.com:3000", "https://a.com:8080"]),
        (r"https://x\.com|https://.*\.y\.com", ["https://*.y.com", "https://x.com"]),
        (r"https://[a-z]+\.y\.com|https://.*\.y\.com|https://a\.y\.com", ["https://*.y.com"]),
        (r"https://example\.com(:443)?/?", ["https://example.com"]),
        (r"https://example\.com(/.*)?", ["https://example.com"]),
        (r"(?i)https://EXAMPLE\.com", ["https://example.com"]),
        (r"https://(?i:A)\.com", ["https://a.com"]),
        (r"https://pr-\d\.example\.com", [f"https://pr-{digit}.example.com" for digit in range(10)]),
        (r"https://pr-[a-z0-9-]+\.example\.com", ["https://pr-*.example.com"]),
        (r"https://pr-[a-z0-9-]{1,63}\.example\.com", ["https://pr-*.example.com"]),
        (r"https://deploy-preview-[a-z0-9-]+--shop\.netlify\.app", ["https://deploy-preview-*--shop.netlify.app"]),
        (r"moz-extension://[^/]+", ["moz-extension://*:*"]),
        (r"capacitor://[^/]+\.app", ["capacitor://*.app"]),
        (r"app://\.", ["app://."]),
        (r"https://Example\.com", []),
        (r"https://example\.com/", []),
        (r"example\.com", []),
        (r"https://a{1000000}\.com", []),
        (".*", ["*"]),
        (r"^[\s\S]+$", ["*"]),
    ],
)
def test_what_is_translated(expression: str, patterns: list[str]) -> None:
    found = translate(re.compile(expression))
    assert (found.patterns, found.left_out) == (patterns, None)


@pytest.mark.parametrize(
    ("expression", "narrower", "left_out", "wider"),
    [
        ("https://app.example.com", ["https://app.example.com"], "https://appaexampleacom", None),
        (r"https://.*.example.com", ["https://*.example.com"], "https://aexampleacom", None),
        (r"https://.*example\.com", ["https://*.example.com", "https://*example.com", "https://example.com"],
         "https://_example.com", None),
        (r"https://example\.com.*", ["https://example.com"], "https://example.coma", None),
        (r"https://[a-z0-9-]+\.example\.com", [], "https://a.example.com", ["https://*.example.com"]),
        (r"https://([a-z]+\.)?a\.com", ["https://a.com"], "https://a.a.com", ["https://*.a.com", "https://a.com"]),
        (r"https://([a-z]+\.)+a\.com", [], "https://a.a.com", ["https://*.a.com"]),
        (r"https://(\w+\.)+a\.com", [], "https://a.a.com", ["https://*.a.com"]),
        (r"https://([a-z0-9-]+\.){1,3}a\.com", [], "https://a.a.com", ["https://*.a.com"]),
        (r"https://pre-[a-z0-9]+\.a\.com", [], "https://pre-a.a.com", ["https://pre-*.a.com"]),
        (r"https://(a\.)*b\.com", ["https://b.com"], "https://a.b.com",
         ["https://*.a.b.com", "https://a.b.com", "https://b.com"]),
        (r"https://(app|[a-z]+-pr)\.a\.com", ["https://app.a.com"], "https://a-pr.a.com",
         ["https://*-pr.a.com", "https://app.a.com"]),
        (r"https://app-\d+\.vercel\.app", [], "https://app-0.vercel.app", ["https://app-*.vercel.app"]),
        (r"https://app-.*\.vercel\.app", ["https://app-*.vercel.app"], "https://app-.vercel.app", None),
        (r"https://[a-z]{3}\.a\.com", [], "https://aaa.a.com", ["https://*.a.com"]),
        (r"https://[a-z0-9-]+\.vercel\.app", [], "https://a.vercel.app", None),
        (r"http://localhost:\d+", [], "http://localhost:1", ["http://localhost:*"]),
        (r"http://localhost(:\d{4})?", ["http://localhost"], "http://localhost:1000", ["http://localhost:*"]),
        (r"http://192\.168\.\d+\.\d+", [], "http://192.168.0.0", None),
        (r"chrome-extension://[a-p]{32}", [], f"chrome-extension://{'a' * 32}", ["chrome-extension://*"]),
        (r"https://.*", [], "https://a", None),
        (r".*://a\.com", ["http://a.com", "https://a.com"], "a://a.com", None),
        (r"https://(?!evil).*\.a\.com", [], "https://a.a.com", ["https://*.a.com"]),
        (r"https://(a+)\.\1\.com|https://b\.com", ["https://b.com"], "https://a.a.com", None),
    ],
)  # fmt: skip
def test_what_has_nearest_patterns_only(
    expression: str, narrower: list[str], left_out: str, wider: list[str] | None
) -> None:
    found = translate(re.compile(expression))
    assert (found.patterns, found.left_out, found.wider) == (narrower, left_out, wider)


def test_the_flags_of_a_compiled_expression_count() -> None:
    for expression in (
        re.compile(r"https://A\.Com", re.IGNORECASE),
        re.compile("https://a \\. com  # a site", re.VERBOSE),
        re.compile(r"^https://a\.com$", re.MULTILINE | re.DOTALL),
    ):
        assert translate(expression).patterns == ["https://a.com"]


def test_an_expression_of_many_states_is_told_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(TooComplex):
        translate(re.compile(r"https://(.*a.{40}){3}\.com"))
    assert time.monotonic() - started < 60
