"""The decision: which of a request's policies allows its origin, and the exact headers that follow.

This is the CORS protocol's server half (Fetch, section 3.3). The middleware, the explain endpoint and the
test vectors all call `decide`; nothing else decides. No I/O and no clock: the caller says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from corspolicy.core.compiled import VARY_PREFLIGHT, CompiledPolicy, is_method
from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.http_names import is_token
from corspolicy.core.origins import MAX_ORIGIN_BYTES, Origin
from corspolicy.core.patterns import ANY
from corspolicy.core.request import CONDITIONAL, MALFORMED, MAX_REQUEST_HEADERS_BYTES, Line, read_preflight

MAX_REMEMBERED = 64
MAX_REMEMBERED_HEADERS_BYTES = 512
VARY_ORIGIN: Line = (b"vary", b"Origin")

_NEVER = -math.inf
_FOREVER = math.inf
_ANY = ANY.encode()


class Reason(StrEnum):
    """Why a decision is as it is. Told to the operator, never to the caller."""

    # Denied requests are counted by reason on the hot path; Enum's own hash is a Python function.
    __hash__ = str.__hash__

    ALLOWED = "allowed"
    NO_ORIGIN = "no_origin"
    TENANT_UNKNOWN = "tenant_unknown"
    NOT_READY = "not_ready"
    STALE = "stale"
    DOCUMENT_UNREADABLE = "document_unreadable"
    ORIGIN_MALFORMED = "origin_malformed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    METHOD_MALFORMED = "method_malformed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HEADERS_MALFORMED = "headers_malformed"
    HEADERS_NOT_ALLOWED = "headers_not_allowed"


class Decision:
    """What was decided, by whom, and what goes on the wire. Immutable: the same one serves many requests.

    `headers` are the exact lines that the response gets: Access-Control-*, and Vary to merge into the app's own.
    `status` is that of a preflight's response (None: the app answers). `hidden` names the request headers that the app
    must not see. An allowed request stays allowed until `until`, in seconds since the Unix epoch.
    """

    __slots__ = ("allowed", "headers", "hidden", "is_denied", "pattern", "policy", "reason", "status", "until")

    def __init__(
        self,
        reason: Reason,
        headers: tuple[Line, ...],
        status: int | None = None,
        policy: CompiledPolicy | None = None,
        pattern: bytes | None = None,
        until: float = _FOREVER,
        hidden: frozenset[bytes] = frozenset(),
    ) -> None:
        self.allowed = reason is _ALLOWED
        self.is_denied = not self.allowed and reason is not _NO_ORIGIN
        self.reason = reason
        self.headers = headers
        self.status = status
        self.policy = policy
        self.pattern = pattern
        self.until = until
        self.hidden = hidden


class Chain:
    """The policies that a request meets, in order; the first that allows its origin answers alone."""

    __slots__ = ("_denied", "_denied_preflight", "_policies", "denied_conditional", "public", "remembered")

    def __init__(self, policies: Sequence[CompiledPolicy], reason: Reason = Reason.ORIGIN_NOT_ALLOWED) -> None:
        """`reason` is that of a request whose origin none of the policies allows."""
        self._policies = tuple(policies)
        # Where the first policy that allows anyone allows everyone, every response is the same and caches need no
        # Vary (Fetch, section 3.3.5).
        first = next((policy for policy in policies if not policy.is_empty), None)
        is_public = first is not None and first.any_until > _NEVER
        self.public = _allow(_ANY, first, _ANY, first.any_until, ()) if first is not None and is_public else None
        self._denied = Decision(reason, _ONLY_VARY_ORIGIN)
        # A 304 would make the browser read its stored response, which may carry the headers of an earlier policy.
        self.denied_conditional = Decision(reason, _ONLY_VARY_ORIGIN, hidden=CONDITIONAL)
        self._denied_preflight = Decision(reason, _ONLY_VARY_PREFLIGHT, 403)
        self.remembered: dict[bytes | tuple[bytes, bytes, bytes], Decision] = {}

    def actual(self, origin: bytes, now: float) -> Decision:
        """The decision on an actual request from `origin`."""
        public = self.public
        if public is not None and now < public.until:
            return public
        for policy in self._policies:
            match = policy.match(origin, now)
            if match is not None:
                decision = _allow(origin, policy, *match, _ONLY_VARY_ORIGIN)
                return self._remember(origin, decision)
        return self._denied

    def preflight(self, origin: bytes, method: bytes, headers: bytes, now: float) -> Decision:
        """The decision on a preflight from `origin` for `method` and the list of `headers`."""
        is_short = len(headers) <= MAX_REMEMBERED_HEADERS_BYTES
        decision = self.remembered.get((origin, method, headers)) if is_short else None
        if decision is not None and now < decision.until:
            return decision
        actual = self.actual(origin, now)
        if actual.policy is None:
            return self._denied_preflight
        decision = _answer_preflight(actual, actual.policy, method, headers)
        return self._remember((origin, method, headers), decision) if decision.allowed and is_short else decision

    def _remember(self, request: bytes | tuple[bytes, bytes, bytes], decision: Decision) -> Decision:
        # Entries of an allowlist only ever expire, so that what was allowed stays so until then. Bounded in number and
        # size: one wildcard allows endless origins, and a forged preflight may hold anything.
        if len(self.remembered) >= MAX_REMEMBERED:
            self.remembered.clear()
        self.remembered[request] = decision
        return decision


def compile_chain(service: str, tenant: Document | None, platform: Document | None) -> Chain:
    """The chain of `service` for a tenant: its own policy for the service, or its default; then the platform's.

    An unknown tenant (None) is granted nothing, whatever the platform allows.
    """
    if tenant is None:
        return TENANT_UNKNOWN
    documents = [tenant] if platform is None or tenant.tenant == PLATFORM else [tenant, platform]
    return Chain([policy for document in documents for policy in _compile(service, document)])


def decide(chain: Chain, method: str, headers: Iterable[Line], now: float) -> Decision:
    """Decide on a request, given by its method and its header lines with lower-case names, at `now`.

    `now` is in seconds since the Unix epoch. Implements the server's side of the CORS protocol (Fetch, section
    3.3). Reads over the lines once. Never raises, whatever bytes the headers hold.
    """
    is_conditional = False
    if method == "OPTIONS":
        origin, requested_method, requested_headers = read_preflight(headers)
        if origin is not None and requested_method is not None:
            return chain.preflight(origin, requested_method, requested_headers or b"", now)
    else:
        origin = None
        watched = _OF_ACTUAL
        for name, value in headers:
            if name in watched:
                if name != b"origin":
                    is_conditional = True
                elif origin is None:
                    origin = value if len(value) <= MAX_ORIGIN_BYTES else MALFORMED
                else:
                    origin, is_conditional = MALFORMED, True
                    break
    if origin is None:
        public = chain.public
        if public is not None and now < public.until:
            return public
        return _ABSENT_CACHEABLE if method in _CACHEABLE_METHODS else _ABSENT
    decision = chain.remembered.get(origin)
    if decision is not None and now < decision.until:
        return decision
    decision = chain.actual(origin, now)
    if is_conditional and decision.is_denied and method in _CACHEABLE_METHODS:
        return chain.denied_conditional
    return decision


def finer_reason(decision: Decision, headers: Iterable[Line]) -> Reason:
    """The reason, for a person: tells a malformed Origin from one that is not listed. Deciding needs no difference."""
    origin = b", ".join(value for name, value in headers if name == b"origin")
    if decision.reason is Reason.ORIGIN_NOT_ALLOWED and origin != b"null" and Origin.parse(origin) is None:
        return Reason.ORIGIN_MALFORMED
    return decision.reason


def _compile(service: str, document: Document) -> list[CompiledPolicy]:
    name = document.policy_name(service)
    policy = document.policies.get(name)
    return [] if policy is None else [CompiledPolicy(document.tenant, name, policy)]


def _allow(origin: bytes, policy: CompiledPolicy, pattern: bytes, until: float, vary: tuple[Line, ...]) -> Decision:
    value = _ANY if pattern == _ANY else origin
    headers = ((b"access-control-allow-origin", value), *policy.actual_lines, *vary)
    return Decision(_ALLOWED, headers, None, policy, pattern, until)


def _answer_preflight(actual: Decision, policy: CompiledPolicy, method: bytes, requested_headers: bytes) -> Decision:
    names = _names(requested_headers)
    if not policy.allows_method(method):
        reason = Reason.METHOD_NOT_ALLOWED if is_method(method) else Reason.METHOD_MALFORMED
    elif names is None:
        reason = Reason.HEADERS_MALFORMED
    elif not policy.allows_headers(names):
        reason = Reason.HEADERS_NOT_ALLOWED
    else:
        headers = (actual.headers[0], *policy.preflight_lines(method, names))
        return Decision(_ALLOWED, headers, 204, policy, actual.pattern, actual.until)
    return Decision(reason, _ONLY_VARY_PREFLIGHT, 403, policy, actual.pattern)


def _names(requested_headers: bytes) -> list[bytes] | None:
    """The names in an Access-Control-Request-Headers value, lower case; None if it is malformed or too long."""
    if len(requested_headers) > MAX_REQUEST_HEADERS_BYTES:
        return None
    names = [name for part in requested_headers.lower().split(b",") if (name := part.strip(b" \t"))]
    return names if not names or is_token(b"".join(names)) else None


_ALLOWED, _NO_ORIGIN = Reason.ALLOWED, Reason.NO_ORIGIN
_OF_ACTUAL = CONDITIONAL | {b"origin"}
_CACHEABLE_METHODS = frozenset(("GET", "HEAD"))
_ONLY_VARY_ORIGIN = (VARY_ORIGIN,)
_ONLY_VARY_PREFLIGHT = (VARY_PREFLIGHT,)
_ABSENT = Decision(_NO_ORIGIN, ())
_ABSENT_CACHEABLE = Decision(_NO_ORIGIN, _ONLY_VARY_ORIGIN)

TENANT_UNKNOWN = Chain((), Reason.TENANT_UNKNOWN)
NOT_READY = Chain((), Reason.NOT_READY)
STALE = Chain((), Reason.STALE)
UNREADABLE = Chain((), Reason.DOCUMENT_UNREADABLE)
