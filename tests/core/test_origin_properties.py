"""Properties of origins and patterns, for any of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import Chain, decide
from corspolicy.core.origins import DEFAULT_PORTS, Origin
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from corspolicy.core.policy import OriginEntry, Policy

LABELS = st.from_regex(r"[a-z_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
# Few of them, so that patterns and origins meet.
COMMON_LABELS = st.sampled_from(["a", "b", "example", "com", "localhost", "xn--bcher-kva"])
DOMAINS = st.lists(COMMON_LABELS | LABELS, min_size=1, max_size=4).map(".".join)
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
    if not host.startswith("[") and not host.rstrip(".").rsplit(".")[-1].isdigit() and draw(st.booleans()):
        host = f"*.{host}"
    port = draw(st.sampled_from([port, "*"]))
    return f"{scheme}://{host}" + (f":{port}" if port else "")


def admits(patterns: list[str], origin: str | bytes) -> bool:
    raw = origin if isinstance(origin, bytes) else origin.encode()
    policy = Policy(allow_origins=tuple(OriginEntry(pattern) for pattern in patterns))
    chain = Chain([CompiledPolicy("acme", "default", policy)])
    return decide(chain, "GET", [(b"origin", raw)], time.time()).allowed


def plain_reading(pattern: str, origin: str) -> bool:
    """Whether a pattern admits an origin, as a person reads it: part by part, with no index."""
    scheme, _, authority = pattern.partition("://")
    host, port = _parts(authority)
    origin_scheme, _, origin_authority = origin.partition("://")
    origin_host, origin_port = _parts(origin_authority)
    is_host = (
        origin_host.endswith(host[1:]) and origin_host != host[2:] if host.startswith("*.") else origin_host == host
    )
    return scheme == origin_scheme and is_host and port in ("*", origin_port)


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
def test_the_index_admits_exactly_what_the_plain_reading_admits(allowed: list[str], origin: str) -> None:
    assert admits(allowed, origin) == any(plain_reading(pattern, origin) for pattern in allowed)


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
def test_no_mutation_of_an_allowed_origin_is_admitted_unless_a_pattern_says_so(
    allowed: list[str], origin: str, mutation: str
) -> None:
    assert admits([*allowed, origin], origin)
    mutated = MUTATIONS[mutation](origin)
    if mutated != origin:
        expected = Origin.parse(mutated.encode()) is not None and any(
            plain_reading(pattern, mutated) for pattern in [*allowed, origin]
        )
        assert admits([*allowed, origin], mutated) == expected


@given(st.lists(patterns(), max_size=5))
def test_an_origin_header_that_spells_a_wildcard_is_not_admitted(allowed: list[str]) -> None:
    for pattern in allowed:
        assert admits(allowed, pattern) == ("*" not in pattern)
