"""Origins near the one that was sent which are allowed."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from corspolicy.core.origins import DEFAULT_PORTS, Origin
from corspolicy.core.patterns import OriginPattern
from policy_service.decisions.inputs import DecisionContext, DecisionInput, text_of
from policy_service.decisions.near_misses.hosts import PREVIEW, Difference, similar_hosts
from policy_service.decisions.near_misses.malformed import MORE_THAN_ONE, defect, joined_origins
from policy_service.decisions.near_misses.wording import near_miss, sent_origin
from policy_service.decisions.schemas import NearMiss

MAX_COMPARED = 200
MAX_ENDS = 50
SIMILARITY = 0.9

_SCHEME = Difference("scheme", "different scheme")
_APP_SCHEME = Difference(
    "scheme", "different scheme (the same app may send https://localhost on Android and capacitor://localhost on iOS)"
)
_PORT = Difference("port", "different port")
_SPELLING = Difference("spelling", "different spelling")
_REPEATED = Difference("repeated", MORE_THAN_ONE, is_malformed=True)
_WEB_SCHEMES = (b"http", b"https")
_NULL = (
    "The page has no origin of its own (a sandboxed frame, a file, or a redirect through another site), for which "
    "browsers send null: serve it from an address of its own, and allow that."
)


def find(request: DecisionInput, context: DecisionContext) -> list[NearMiss]:
    """Those with the fewest differences, one for each pattern that allows one."""
    if request.value(b"origin") == b"null":
        return [NearMiss(differences=["null_origin"], message=_NULL)]
    found: dict[tuple[str, str, bytes | None], NearMiss] = {}
    fewest = 0
    for origin, differences in _altered(request, context):
        if found and len(differences) > fewest:
            break
        decision = request.replace(b"origin", origin).decide()
        if decision.policy is not None and context.shows(decision):
            codes = [difference.code for difference in differences]
            message = _advice(differences, sent_origin(request), text_of(origin))
            by = (decision.policy.tenant, decision.policy.service, decision.pattern)
            found.setdefault(by, near_miss(codes, message, decision, text_of(origin)))
            fewest = len(differences)
    return list(found.values())


def _advice(differences: Sequence[Difference], sent: str, allowed: str) -> str:
    if _REPEATED in differences:
        return f"{allowed} is allowed, but {MORE_THAN_ONE}."
    words = "; ".join(difference.words for difference in differences)
    if any(difference.is_malformed for difference in differences):
        advice = f"Send {allowed}, or find what changes it on the way"
    elif _SCHEME in differences and allowed.startswith("https:") and sent.startswith("http:"):
        advice = f"Open the page at {allowed}, or allow {sent} as well, if intended"
    elif PREVIEW in differences:
        advice = f"Allow {sent} as well, if that preview is yours"
    else:
        advice = f"Allow {sent} as well, if intended"
    return f"{allowed} is allowed, {sent} is not: {words}. {advice}."


def _altered(request: DecisionInput, context: DecisionContext) -> Iterator[tuple[bytes, list[Difference]]]:
    """Origins that differ from the one sent, each with its differences, the nearest first."""
    sent = request.value(b"origin")
    if joined := joined_origins(sent):
        yield from ((origin, [_REPEATED]) for origin in joined)
        return
    origin, form = Origin.parse(sent), []
    if origin is None and (error := defect(sent)) is not None and error.suggestion is not None:
        words = error.message[0].lower() + error.message[1:].removesuffix(".")
        origin, form = Origin.parse(error.suggestion.encode()), [Difference(error.code, words, is_malformed=True)]
    if origin is None:
        return
    altered: dict[bytes, list[Difference]] = {}
    ends = _ends(origin, context.patterns())
    hosts = [(origin.host, []), *((host, [difference]) for host, difference in similar_hosts(origin.host))]
    for host, in_host in hosts:
        for scheme, port in ends:
            in_port = [_PORT] if port != origin.port else []
            differences = [*form, *_in_scheme(origin.scheme, scheme), *in_port, *in_host]
            altered.setdefault(_serialized(Origin(scheme, host, port)), differences)
    altered.pop(sent, None)
    yield from sorted(altered.items(), key=lambda each: len(each[1]))
    patterns = [pattern for pattern in islice(context.patterns(), MAX_COMPARED) if "*" not in pattern]
    for similar in difflib.get_close_matches(text_of(_serialized(origin)), patterns, n=1, cutoff=SIMILARITY):
        yield similar.encode(), [*form, _SPELLING]


def _in_scheme(sent: bytes, other: bytes) -> list[Difference]:
    if sent == other:
        return []
    return [_SCHEME if sent in _WEB_SCHEMES and other in _WEB_SCHEMES else _APP_SCHEME]


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


def _serialized(origin: Origin) -> bytes:
    return origin.scheme + b"://" + origin.host + (b":" + origin.port if origin.port else b"")
