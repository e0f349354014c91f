"""What would have been let through, had the request or the moment been a little different.

Every near miss is the answer of `decide` to an altered request: what rules there are stands in the core alone.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from corspolicy.core.decision import Chain, Decision, Reason, compile_chain, decide
from corspolicy.core.document import DEFAULT, Document
from corspolicy.core.origins import DEFAULT_PORTS, MAX_ORIGIN_BYTES, Origin
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from corspolicy.core.policy import format_time
from corspolicy.core.request import Line
from policy_service.auth.callers import Scope
from policy_service.decisions.schemas import DecidingPolicy, NearMiss
from policy_service.documents.domains import to_ascii

MAX_SHOWN = 5
MAX_PATTERNS = 10_000
MAX_COMPARED = 200
MAX_ENDS = 50
MAX_PARENTS = 5
MAX_SERVICES = 100
MAX_NAMES = 50
SIMILARITY = 0.9

_LOOPBACK = (b"localhost", b"127.0.0.1", b"[::1]")
_NOTHING_NEAR = (Reason.TENANT_UNKNOWN, Reason.METHOD_MALFORMED, Reason.HEADERS_MALFORMED)
_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


class Asked(NamedTuple):
    """A request, and what it is held against."""

    chain: Chain
    method: str
    lines: tuple[Line, ...]
    now: float

    def decide(self) -> Decision:
        """What the middleware would do."""
        return decide(self.chain, self.method, self.lines, self.now)

    def value(self, name: bytes) -> bytes:
        """A header's value, its lines as one (RFC 9110, section 5.2)."""
        return b", ".join(value for line, value in self.lines if line == name)

    def replaced(self, name: bytes, *values: bytes) -> Asked:
        """The request with another value of a header, or without it."""
        others = tuple(line for line in self.lines if line[0] != name)
        return self._replace(lines=(*others, *((name, value) for value in values)))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the request was sent, the documents that decide there, and whose of them the caller may see."""

    service: str
    tenant: Document | None
    platform: Document | None
    scope: Scope

    @property
    def documents(self) -> list[Document]:
        """Those that the caller may see."""
        documents = (self.tenant, self.platform)
        return [each for each in documents if each is not None and self.scope.covers(each.tenant)]

    def shows(self, decision: Decision) -> bool:
        """Whether the caller may see the policy that decided."""
        return decision.policy is not None and self.scope.covers(decision.policy.tenant)

    def patterns(self) -> Iterator[str]:
        """The patterns that the caller may see, not too many."""
        policies = (policy for document in self.documents for policy in document.policies.values())
        return islice((entry.pattern for policy in policies for entry in policy.allow_origins), MAX_PATTERNS)


def find(asked: Asked, decision: Decision, around: Surroundings) -> list[NearMiss]:
    """The near misses of a request that was refused, the nearest first."""
    if not decision.is_denied or decision.reason in _NOTHING_NEAR:
        return []
    if decision.policy is None:
        found = [*_expired(asked, around), *_other_services(asked, around), *_of_origin(asked, around)]
    elif around.shows(decision):
        found = [*_of_preflight(asked, decision), *_other_services(asked, around)]
    else:
        found = list(_other_services(asked, around))
    return sorted(found, key=lambda miss: len(miss.differences))[:MAX_SHOWN]


def defect(asked: Asked) -> InvalidOrigin | None:
    """What is wrong with the form of the Origin header, as the core tells it."""
    value = asked.value(b"origin")
    if len(value) > 2 * MAX_ORIGIN_BYTES or Origin.parse(value) is not None:
        return None
    try:
        OriginPattern.parse(_text(value), to_ascii)
    except InvalidOrigin as error:
        return error
    return None


def _expired(asked: Asked, around: Surroundings) -> Iterator[NearMiss]:
    """The entry that admitted the origin last."""
    # As an actual request: what a preflight asks for beside does not expire.
    actual = asked._replace(method="GET")
    last: Decision | None = None
    moment = -math.inf
    while (earlier := actual._replace(now=moment).decide()).policy is not None:
        last, moment = earlier, earlier.until
    if last is not None and around.shows(last):
        message = (
            f"{_shown(asked)} was admitted by {_pattern(last)} until {_when(moment, asked.now)}: "
            "admit it again, with a later expires_at or with none."
        )
        yield _near_miss(["expired"], message, last, _shown(asked))


def _other_services(asked: Asked, around: Surroundings) -> Iterator[NearMiss]:
    """Policies that would let the request through, were they not those of other services."""
    names = {name for document in around.documents for name in document.policies} - {around.service}
    seen: set[tuple[str, str]] = set()
    for name in sorted(names)[:MAX_SERVICES]:
        chain = compile_chain(name, around.tenant, around.platform)
        decision = asked._replace(chain=chain).decide()
        policy = decision.policy
        if not decision.allowed or policy is None or not around.shows(decision):
            continue
        if (policy.tenant, policy.service) in seen:
            continue
        seen.add((policy.tenant, policy.service))
        if policy.service == DEFAULT:
            message = (
                f"The default policy of tenant {policy.tenant} allows this, but does not apply: service "
                f"{around.service} has a policy of its own, which stands instead, whole. Allow it there too, "
                "or delete that policy."
            )
        else:
            message = (
                f"This is allowed for service {policy.service}, by a policy of its own, and was sent to service "
                f"{around.service}: allow it there too."
            )
        yield _near_miss(["other_service"], message, decision, None)


def _of_preflight(asked: Asked, decision: Decision) -> Iterator[NearMiss]:
    """What a preflight lacks whose origin is admitted: its method and its headers, each asked alone."""
    assert decision.policy is not None
    policy = f"The policy {decision.policy.service} of tenant {decision.policy.tenant}"
    method = asked.value(_METHOD)
    alone = asked.replaced(_HEADERS)
    if alone.decide().reason is Reason.METHOD_NOT_ALLOWED:
        cased = (form for form in (method.upper(), method.lower()) if alone.replaced(_METHOD, form).decide().allowed)
        allowed = next(cased, None)
        if allowed is None:
            yield _near_miss(["method"], f"{policy} does not list {_text(method)}: add it to allow_methods.", decision)
        else:
            message = (
                f"{policy} lists {_text(allowed)}, and the page asked for {_text(method)}: case counts. Write "
                f"{_text(allowed)} in the page's code, or list {_text(method)} as well."
            )
            yield _near_miss(["method_case"], message, decision)
    simple = asked.replaced(_METHOD, b"GET")
    names = dict.fromkeys(name.strip().lower() for name in asked.value(_HEADERS).split(b","))
    refused = [
        _text(name)
        for name in islice(names, MAX_NAMES)
        if simple.replaced(_HEADERS, name).decide().reason is Reason.HEADERS_NOT_ALLOWED
    ]
    if refused:
        by_name = " (by name: without credentials, `*` does not cover it)" if refused == ["authorization"] else ""
        message = f"{policy} does not list the header {', '.join(refused)}: add it to allow_headers{by_name}."
        yield _near_miss(["headers"], message, decision)


class _Difference(NamedTuple):
    code: str
    words: str
    is_malformed: bool = False


_SCHEME = _Difference("scheme", "another scheme")
_PORT = _Difference("port", "another port")
_WWW = _Difference("www", "with and without `www.` are two origins")
_SUBDOMAIN = _Difference("subdomain", "a domain's entry does not admit its subdomains")
_APEX = _Difference("apex", "`*.` stands for subdomains, not for the domain itself")
_LOOPBACK_NAME = _Difference("loopback", "to a browser, localhost and its addresses are different origins")
_SPELLING = _Difference("spelling", "another spelling")
_REPEATED = _Difference("repeated", "it was sent more than once, perhaps by a proxy that adds it", is_malformed=True)


def _of_origin(asked: Asked, around: Surroundings) -> list[NearMiss]:
    """Origins near the one sent that are admitted; of these, the ones with the fewest differences."""
    sent = asked.value(b"origin")
    if sent == b"null":
        message = (
            "The page has no origin of its own (a sandboxed frame, a file, or a redirect through another site), for "
            "which browsers send null: serve it from an address of its own, and admit that."
        )
        return [NearMiss(differences=["null_origin"], message=message)]
    found: dict[tuple[str, str, bytes | None], NearMiss] = {}
    fewest = 0
    for origin, differences in _altered(asked, around):
        if found and len(differences) > fewest:
            break
        decision = asked.replaced(b"origin", origin).decide()
        if decision.policy is not None and around.shows(decision):
            codes = [difference.code for difference in differences]
            message = _advice(differences, _shown(asked), _text(origin))
            by = (decision.policy.tenant, decision.policy.service, decision.pattern)
            found.setdefault(by, _near_miss(codes, message, decision, _text(origin)))
            fewest = len(differences)
    return list(found.values())


def _advice(differences: Sequence[_Difference], sent: str, admitted: str) -> str:
    words = "; ".join(difference.words for difference in differences)
    if any(difference.is_malformed for difference in differences):
        advice = f"Send {admitted}, or see what changes it on its way"
    elif _SCHEME in differences and admitted.startswith("https:"):
        advice = f"Open the page at {admitted}, or admit {sent} as well, if it is meant"
    else:
        advice = f"Admit {sent} as well, if it is meant"
    return f"{admitted} is admitted, {sent} is not: {words}. {advice}."


def _altered(asked: Asked, around: Surroundings) -> Iterator[tuple[bytes, list[_Difference]]]:
    """Origins that differ from the one sent, each with what it differs in, the nearest first."""
    sent = asked.value(b"origin")
    lines = [value for name, value in asked.lines if name == b"origin"]
    if len(lines) > 1:
        yield from ((value, [_REPEATED]) for value in lines[:MAX_SHOWN])
        return
    origin, form = Origin.parse(sent), []
    if origin is None and (error := defect(asked)) is not None and error.suggestion is not None:
        words = error.message[0].lower() + error.message[1:].removesuffix(".")
        origin, form = Origin.parse(error.suggestion.encode()), [_Difference(error.code, words, is_malformed=True)]
    if origin is None:
        return
    altered: dict[bytes, list[_Difference]] = {}
    ends = _ends(origin, around.patterns())
    for host, in_host in _hosts(origin.host):
        for scheme, port in ends:
            in_scheme = [_SCHEME] if scheme != origin.scheme else []
            in_port = [_PORT] if port != origin.port else []
            altered.setdefault(_serialized(Origin(scheme, host, port)), [*form, *in_scheme, *in_port, *in_host])
    altered.pop(sent, None)
    yield from sorted(altered.items(), key=lambda each: len(each[1]))
    patterns = [pattern for pattern in islice(around.patterns(), MAX_COMPARED) if "*" not in pattern]
    for similar in difflib.get_close_matches(_text(_serialized(origin)), patterns, n=1, cutoff=SIMILARITY):
        yield similar.encode(), [*form, _SPELLING]


def _hosts(host: bytes) -> list[tuple[bytes, list[_Difference]]]:
    """The host, and those that it is often taken for."""
    labels = host.split(b".")
    bare = host.removeprefix(b"www.")
    others: list[tuple[_Difference, bytes]] = []
    if host in _LOOPBACK:
        others += [(_LOOPBACK_NAME, name) for name in _LOOPBACK if name != host]
    others.append((_APEX, b"any-subdomain." + host))
    others.append((_WWW, bare if bare != host else b"www." + host))
    others += [(_SUBDOMAIN, b".".join(labels[index:])) for index in range(1, len(labels)) if index <= MAX_PARENTS]
    return [(host, []), *((other, [difference]) for difference, other in others)]


def _ends(origin: Origin, patterns: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """The origin's own scheme and port, then those that policies name, the most common first."""
    parsed = (OriginPattern.parse(pattern) for pattern in patterns)
    counts = Counter((pattern.scheme, pattern.port) for pattern in parsed if not pattern.is_any)
    ends = [(origin.scheme, origin.port)]
    for (scheme, port), _ in counts.most_common(MAX_ENDS):
        number = origin.port if port == "*" else port.encode()
        is_default = DEFAULT_PORTS.get(scheme.encode()) == number
        ends.append((scheme.encode(), b"" if is_default else number))
    return ends


def _near_miss(differences: list[str], message: str, decision: Decision, admitted: str | None = None) -> NearMiss:
    assert decision.policy is not None
    return NearMiss(
        differences=differences,
        message=message,
        origin=admitted,
        policy=DecidingPolicy(tenant=decision.policy.tenant, service=decision.policy.service),
        pattern=_pattern(decision),
    )


def _pattern(decision: Decision) -> str:
    return "" if decision.pattern is None else decision.pattern.decode()


def _serialized(origin: Origin) -> bytes:
    return origin.scheme + b"://" + origin.host + (b":" + origin.port if origin.port else b"")


def _shown(asked: Asked) -> str:
    value = _text(asked.value(b"origin"))
    return value if len(value) <= MAX_ORIGIN_BYTES else value[:MAX_ORIGIN_BYTES] + "…"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _when(moment: float, now: float) -> str:
    day, today = (datetime.fromtimestamp(each, UTC).date() for each in (moment, now))
    days = (today - day).days
    return {0: "today, ", 1: "yesterday, "}.get(days, "") + format_time(moment)
