"""The decision: which of a request's policies admits its origin, and the exact headers that follow.

This is the CORS protocol's server half (Fetch, section 3.3). The middleware, the explain endpoint and the
test vectors all call `decide`; nothing else decides. No I/O and no clock: the caller says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.origins import ANY, Origin, candidates
from corspolicy.core.policy import Policy
from corspolicy.core.validation import is_token

Line = tuple[bytes, bytes]

MAX_REQUEST_HEADERS_BYTES = 4096
MAX_METHOD_BYTES = 64
MAX_REMEMBERED = 64
MAX_REMEMBERED_BYTES = 512
VARY_ORIGIN: Line = (b"vary", b"Origin")
VARY_PREFLIGHT: Line = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")

_ALWAYS_ALLOWED_METHODS = frozenset((b"GET", b"HEAD", b"POST"))
_NEVER = -math.inf
_FOREVER = math.inf
_ANY = ANY.encode()


class Reason(StrEnum):
    """Why a decision is as it is. Told to the operator, never to the caller."""

    # Refusals are counted by reason on the hot path; Enum's own hash is a Python function.
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


class CompiledPolicy:
    """A policy in the form that requests are held against. Immutable; lookups cost the same for any length."""

    __slots__ = (
        "_admits_authorization", "_any_header", "_any_method", "_exact", "_headers", "_methods", "_wildcards",
        "actual_lines", "admits_any_until", "is_empty", "preflight_lines", "service", "tenant",
    )  # fmt: skip

    def __init__(self, tenant: str, service: str, policy: Policy) -> None:
        self.tenant = tenant
        self.service = service
        until = {
            entry.pattern.encode(): _FOREVER if entry.expires_at is None else entry.expires_at
            for entry in policy.allow_origins
        }
        self.admits_any_until = until.pop(_ANY, _NEVER)
        # Apart, so that an Origin header that spells a wildcard never equals one.
        self._exact = {pattern: end for pattern, end in until.items() if b"*" not in pattern}
        self._wildcards = {pattern: end for pattern, end in until.items() if b"*" in pattern}
        self.is_empty = not policy.allow_origins
        self._methods = _ALWAYS_ALLOWED_METHODS | {method.encode() for method in policy.allow_methods}
        self._any_method = b"*" in self._methods
        self._headers = frozenset(name.encode() for name in policy.allow_headers)
        self._any_header = b"*" in self._headers
        self._admits_authorization = b"authorization" in self._headers or policy.allow_credentials
        credentials = ((b"access-control-allow-credentials", b"true"),) if policy.allow_credentials else ()
        names = ", ".join(policy.expose_headers).encode()
        exposed = ((b"access-control-expose-headers", names),) if names else ()
        max_age = () if policy.max_age is None else ((b"access-control-max-age", b"%d" % policy.max_age),)
        self.actual_lines: tuple[Line, ...] = (*credentials, *exposed)
        self.preflight_lines: tuple[Line, ...] = (*credentials, *max_age)

    def match(self, origin: bytes, now: float) -> tuple[bytes, float] | None:
        """The pattern that admits `origin` at `now` and until when it will, or None.

        `*` comes first: what it admits is anonymous and the same for everybody, so that a listed origin
        beside it must not make the answers differ.
        """
        if now < self.admits_any_until:
            is_origin = origin == b"null" or Origin.parse(origin) is not None
            return (_ANY, self.admits_any_until) if is_origin else None
        until = self._exact.get(origin, _NEVER)
        if now < until:
            return origin, until
        if not self._wildcards or (parsed := Origin.parse(origin)) is None:
            return None
        for pattern in candidates(parsed):
            until = self._wildcards.get(pattern, _NEVER)
            if now < until:
                return pattern, until
        return None

    def allows_method(self, method: bytes) -> bool:
        """Whether a preflight for `method` passes. Case-sensitive; GET, HEAD and POST always do."""
        return method in self._methods or (self._any_method and _is_method(method))

    def allows_headers(self, names: Sequence[bytes]) -> bool:
        """Whether a preflight for the lower-case header `names` passes."""
        if self._headers.issuperset(names):
            return True
        return self._any_header and (self._admits_authorization or b"authorization" not in names)


class Decision:
    """What was decided, by whom, and what goes on the wire. Immutable: the same one serves many requests.

    `headers` are the exact lines that the response gets: Access-Control-*, and Vary to merge into the app's own.
    `status` is that of a preflight's answer (None: the app answers). An admission holds until `until`, in seconds
    since the Unix epoch.
    """

    __slots__ = ("allowed", "headers", "is_refusal", "pattern", "policy", "reason", "status", "until")

    def __init__(
        self,
        reason: Reason,
        headers: tuple[Line, ...],
        status: int | None = None,
        policy: CompiledPolicy | None = None,
        pattern: bytes | None = None,
        until: float = _FOREVER,
    ) -> None:
        self.allowed = reason is _ALLOWED
        self.is_refusal = not self.allowed and reason is not _NO_ORIGIN
        self.reason = reason
        self.headers = headers
        self.status = status
        self.policy = policy
        self.pattern = pattern
        self.until = until


class Chain:
    """The policies that a request meets, in order; the first that admits its origin answers alone."""

    __slots__ = ("_policies", "_public", "_refused", "_refused_preflight", "_remembered")

    def __init__(self, policies: Sequence[CompiledPolicy], unadmitted: Reason = Reason.ORIGIN_NOT_ALLOWED) -> None:
        self._policies = tuple(policies)
        # Where the first policy that admits anybody admits all, every response is the same and caches need no
        # Vary (Fetch, section 3.3.5).
        first = next((policy for policy in policies if not policy.is_empty), None)
        self._public = first if first is not None and first.admits_any_until > _NEVER else None
        self._refused = Decision(unadmitted, _ONLY_VARY_ORIGIN)
        self._refused_preflight = Decision(unadmitted, _ONLY_VARY_PREFLIGHT, 403)
        self._remembered: dict[bytes | tuple[bytes, bytes, bytes], Decision] = {}

    def without_origin(self, method: str, now: float) -> Decision:
        """The decision on a request that has no Origin."""
        public = self._public
        if public is not None and now < public.admits_any_until:
            return self._admit(_ANY, public, _ANY, public.admits_any_until)
        return _ABSENT_CACHEABLE if method in _CACHEABLE_METHODS else _ABSENT

    def actual(self, origin: bytes, now: float) -> Decision:
        """The decision on an actual request from `origin`."""
        decision = self._remembered.get(origin)
        if decision is not None and now < decision.until:
            return decision
        for policy in self._policies:
            match = policy.match(origin, now)
            if match is not None:
                return self._remember(origin, self._admit(origin, policy, *match))
        return self._refused

    def preflight(self, origin: bytes, method: bytes, headers: bytes, now: float) -> Decision:
        """The decision on a preflight from `origin` for `method` and the list of `headers`."""
        is_short = len(method) + len(headers) <= MAX_REMEMBERED_BYTES
        decision = self._remembered.get((origin, method, headers)) if is_short else None
        if decision is not None and now < decision.until:
            return decision
        admitted = self.actual(origin, now)
        if admitted.policy is None:
            return self._refused_preflight
        decision = _answer_preflight(admitted, admitted.policy, method, headers)
        return self._remember((origin, method, headers), decision) if decision.allowed and is_short else decision

    def _admit(self, origin: bytes, policy: CompiledPolicy, pattern: bytes, until: float) -> Decision:
        is_any = pattern == _ANY
        headers = ((b"access-control-allow-origin", _ANY if is_any else origin), *policy.actual_lines)
        if not (is_any and policy is self._public):
            headers += _ONLY_VARY_ORIGIN
        return Decision(_ALLOWED, headers, None, policy, pattern, until)

    def _remember(self, request: bytes | tuple[bytes, bytes, bytes], decision: Decision) -> Decision:
        # Entries of an allowlist only ever end, so that what was admitted stays so until then. Bounded in number and
        # size: one wildcard admits endless origins, and a forged preflight may hold anything.
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[request] = decision
        return decision


def compile_chain(service: str, tenant: Document | None, platform: Document | None) -> Chain:
    """The chain of `service` for a tenant: its own policy for the service, or its default; then the platform's.

    An unknown tenant (None) is granted nothing, whatever the platform admits.
    """
    if tenant is None:
        return TENANT_UNKNOWN
    documents = [tenant] if platform is None or tenant.tenant == PLATFORM else [tenant, platform]
    return Chain([policy for document in documents for policy in _compile(service, document)])


def decide(chain: Chain, method: str, headers: Iterable[Line], now: float) -> Decision:
    """Decide on a request, given by its method and its header lines with lower-case names, at `now`.

    `now` is in seconds since the Unix epoch. Implements the server's side of the CORS protocol (Fetch, section
    3.3). Repeated lines count as one, joined by `, ` (RFC 9110, section 5.2): a joined Origin is none. Never
    raises, whatever bytes the headers hold.
    """
    origin = None
    for name, value in headers:
        if name == b"origin":
            origin = value if origin is None else origin + b", " + value
    if origin is None:
        return chain.without_origin(method, now)
    if method == "OPTIONS":
        requested_method = requested_headers = None
        for name, value in headers:
            if name == b"access-control-request-method":
                requested_method = value if requested_method is None else requested_method + b", " + value
            elif name == b"access-control-request-headers":
                requested_headers = value if requested_headers is None else requested_headers + b", " + value
        if requested_method is not None:
            return chain.preflight(origin, requested_method, requested_headers or b"", now)
    return chain.actual(origin, now)


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


def _answer_preflight(admitted: Decision, policy: CompiledPolicy, method: bytes, requested_headers: bytes) -> Decision:
    names = _names(requested_headers)
    if not policy.allows_method(method):
        refusal = Reason.METHOD_NOT_ALLOWED if _is_method(method) else Reason.METHOD_MALFORMED
    elif names is None:
        refusal = Reason.HEADERS_MALFORMED
    elif not policy.allows_headers(names):
        refusal = Reason.HEADERS_NOT_ALLOWED
    else:
        allow_headers = ((b"access-control-allow-headers", b", ".join(names)),) if names else ()
        headers = (
            admitted.headers[0],
            (b"access-control-allow-methods", method),
            *allow_headers,
            *policy.preflight_lines,
            VARY_PREFLIGHT,
        )
        return Decision(_ALLOWED, headers, 204, policy, admitted.pattern, admitted.until)
    return Decision(refusal, _ONLY_VARY_PREFLIGHT, 403, policy, admitted.pattern)


def _is_method(method: bytes) -> bool:
    return len(method) <= MAX_METHOD_BYTES and is_token(method)


def _names(requested_headers: bytes) -> list[bytes] | None:
    """The names in an Access-Control-Request-Headers value, lower case; None if it is malformed or too long."""
    if len(requested_headers) > MAX_REQUEST_HEADERS_BYTES:
        return None
    names = [name for part in requested_headers.lower().split(b",") if (name := part.strip(b" \t"))]
    return names if not names or is_token(b"".join(names)) else None


_ALLOWED, _NO_ORIGIN = Reason.ALLOWED, Reason.NO_ORIGIN
_CACHEABLE_METHODS = frozenset(("GET", "HEAD"))
_ONLY_VARY_ORIGIN = (VARY_ORIGIN,)
_ONLY_VARY_PREFLIGHT = (VARY_PREFLIGHT,)
_ABSENT = Decision(_NO_ORIGIN, ())
_ABSENT_CACHEABLE = Decision(_NO_ORIGIN, _ONLY_VARY_ORIGIN)

TENANT_UNKNOWN = Chain((), Reason.TENANT_UNKNOWN)
NOT_READY = Chain((), Reason.NOT_READY)
STALE = Chain((), Reason.STALE)
UNREADABLE = Chain((), Reason.DOCUMENT_UNREADABLE)
