"""Properties of origins and patterns, for any of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.origins import DEFAULT_PORTS, Origin
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from corspolicy.core.policy import OriginEntry, Policy
from corspolicy.core.wildcards import PatternSet

LABELS = st.from_regex(r"[a-z_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
# Few of them, so that patterns and origins meet.
COMMON_LABELS = st.sampled_from(["a", "b", "example", "com", "localhost", "xn--bcher-kva"])
# Few of them, too: what stands beside a `*` within a label, and labels that it may match.
PARTS = st.sampled_from([("abc", ""), ("ab", "c"), ("", "abc"), ("a", "bc"), ("abc", "abc"), ("abc-", "-x")])
WITHIN = st.sampled_from(["abc1", "abc", "ab1c", "1abc", "a1bc", "abc1abc", "abcabc", "abc-1-x", "abc--x", "abc_abc"])
DOMAINS = st.lists(COMMON_LABELS | LABELS | WITHIN, min_size=1, max_size=4).map(".".join)
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(str).filter(lambda text: "." not in text and "ffff:" not in text).map("[{}]".format)
HOSTS = DOMAINS | DOMAINS.map(lambda domain: domain + ".") | IPV4 | IPV6
SCHEMES = st.sampled_from(["https", "http", "capacitor", "chrome-extension"])
PORTS = st.none() | st.sampled_from([80, 443, 8080, 3000]) | st.integers(1, 65535)


@st.composite
def origins(draw: st.DrawFn) -> str:
    scheme, host, port = draw(SCHEMES), draw(HOSTS), draw(PORTS)
    is_default = port is None or DEFAULT_PORTS.get(scheme.encode()) == str(port).encode()
    return f"{scheme}://{host}" + ("" if is_default else f":{port}")


@st.composite
def patterns(draw: st.DrawFn) -> str:
    origin = draw(origins())
    scheme = origin.partition("://")[0]
    parsed = Origin.parse(origin.encode())
    assert parsed is not None
    host, port = parsed.host.decode(), parsed.port.decode()
    is_address = host.startswith("[") or host.rstrip(".").rsplit(".")[-1].isdigit()
    form = "alone" if is_address else draw(st.sampled_from(["alone", "subdomains", "within", "within"]))
    if form == "subdomains":
        host = f"*.{host}"
    elif form == "within":
        before, after = draw(PARTS)
        host = f"{before}*{after}.{host}"
    port = draw(st.sampled_from([port, "*"]))
    return f"{scheme}://{host}" + (f":{port}" if port else "")


def allows(patterns: list[str], origin: str | bytes) -> bool:
    raw = origin if isinstance(origin, bytes) else origin.encode()
    policy = Policy(allow_origins=tuple(OriginEntry(pattern) for pattern in patterns))
    chain = Chain([CompiledPolicy("acme", "default", policy)])
    return decide(chain, "GET", [(b"origin", raw)], time.time()).allowed


def plain_reading(pattern: str, origin: str) -> bool:
    """Whether a pattern allows an origin, as a person reads it: part by part, with no index."""
    scheme, _, authority = pattern.partition("://")
    host, port = _parts(authority)
    origin_scheme, _, origin_authority = origin.partition("://")
    origin_host, origin_port = _parts(origin_authority)
    return scheme == origin_scheme and _is_host(host, origin_host) and port in ("*", origin_port)


def _is_host(pattern: str, host: str) -> bool:
    label, _, parent = pattern.partition(".")
    if "*" not in label:
        return host == pattern
    if label == "*":
        return host.endswith(pattern[1:]) and host != pattern[2:]
    before, _, after = label.partition("*")
    first, _, rest = host.partition(".")
    middle = first[len(before) : len(first) - len(after)]
    is_part = re.fullmatch("[a-z0-9-]+", middle) is not None
    return rest == parent and first.startswith(before) and first.endswith(after) and is_part


def _parts(authority: str) -> tuple[str, str]:
    if authority.endswith("]") or ":" not in authority:
        return authority, ""
    host, _, port = authority.rpartition(":")
    return host, port


@given(origins())
def test_an_origin_is_read_and_written_back_the_same(origin: str) -> None:
    parsed = Origin.parse(origin.encode())
    assert parsed is not None
    port = b":" + parsed.port if parsed.port else b""
    assert parsed.scheme + b"://" + parsed.host + port == origin.encode()
    assert OriginPattern.parse(origin).text == origin


@given(patterns())
def test_a_pattern_is_read_and_written_back_the_same(pattern: str) -> None:
    parsed = OriginPattern.parse(pattern)
    port = f":{parsed.port}" if parsed.port else ""
    assert f"{parsed.scheme}://{parsed.host}{port}" == pattern == parsed.text


@given(st.text() | origins() | patterns() | st.text(alphabet="htps:/.*[]@?#%-_ 019aé"))
def test_whatever_is_accepted_as_a_pattern_without_a_wildcard_is_an_origin_and_the_reverse(text: str) -> None:
    try:
        OriginPattern.parse(text)
    except InvalidOrigin as error:
        assert Origin.parse(text.encode("utf-8", "surrogatepass")) is None
        if error.suggestion is not None:
            OriginPattern.parse(error.suggestion)
    else:
        assert "*" in text or Origin.parse(text.encode()) is not None


@given(st.binary(max_size=400))
def test_reading_any_bytes_as_an_origin_never_raises(raw: bytes) -> None:
    parsed = Origin.parse(raw)
    assert parsed is None or len(raw) <= 330


@given(st.lists(patterns(), max_size=8), origins())
def test_the_index_allows_exactly_what_the_plain_reading_allows(allowed: list[str], origin: str) -> None:
    assert allows(allowed, origin) == any(plain_reading(pattern, origin) for pattern in allowed)


@given(st.lists(patterns(), min_size=1, max_size=8), patterns())
def test_a_broader_pattern_matches_all_that_a_narrower_one_matches(allowed: list[str], pattern: str) -> None:
    narrow = OriginPattern.parse(pattern)
    broader = set(PatternSet(allowed).broader(narrow, credentials=True))
    # Read as an origin, with its `*` one of the characters that it matches.
    origin = pattern.replace(":*", ":8080").replace("*", "x", 1)
    assert broader <= {text for text in allowed if text != pattern and plain_reading(text, origin)}


MUTATIONS: dict[str, Callable[[str], str]] = {
    "suffix": lambda origin: origin + ".evil.com",
    "suffix without a dot": lambda origin: origin + "x",
    "prefix": lambda origin: origin.replace("://", "://evil"),
    "subdomain": lambda origin: origin.replace("://", "://evil."),
    "port": lambda origin: f"{origin}:8443" if origin[-1] != "]" and ":" not in origin[8:] else origin + "1",
    "default port": lambda origin: f"{origin}:{443 if origin.startswith('https') else 80}",
    "case of the host": lambda origin: origin.partition("://")[0] + "://" + origin.partition("://")[2].upper(),
    "case of the scheme": lambda origin: origin[0].upper() + origin[1:],
    "userinfo": lambda origin: origin.replace("://", "://user@"),
    "origin as userinfo": lambda origin: origin + "@evil.com",
    "trailing dot": lambda origin: origin + ".",
    "trailing slash": lambda origin: origin + "/",
    "path": lambda origin: origin + "/x",
    "fragment": lambda origin: origin + "#x",
    "scheme": lambda origin: "http" + origin[5:] if origin.startswith("https:") else "x" + origin,
    "leading space": lambda origin: " " + origin,
    "trailing space": lambda origin: origin + " ",
    "twice": lambda origin: f"{origin}, {origin}",
    "null byte": lambda origin: origin + "\0",
}


@given(st.lists(patterns(), min_size=1, max_size=5), origins(), st.sampled_from(sorted(MUTATIONS)))
def test_no_mutation_of_an_allowed_origin_is_allowed_unless_a_pattern_says_so(
    allowed: list[str], origin: str, mutation: str
) -> None:
    assert allows([*allowed, origin], origin)
    mutated = MUTATIONS[mutation](origin)
    if mutated != origin:
        expected = Origin.parse(mutated.encode()) is not None and any(
            plain_reading(pattern, mutated) for pattern in [*allowed, origin]
        )
        assert allows([*allowed, origin], mutated) == expected


@given(st.lists(patterns(), max_size=5))
def test_an_origin_header_that_spells_a_wildcard_is_not_allowed(allowed: list[str]) -> None:
    for pattern in allowed:
        assert allows(allowed, pattern) == ("*" not in pattern)
