"""A policy in the form that requests are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from corspolicy.core.http_names import is_token
from corspolicy.core.origins import Origin
from corspolicy.core.patterns import ANY
from corspolicy.core.policy import Policy
from corspolicy.core.request import MAX_METHOD_BYTES, Line
from corspolicy.core.wildcards import WildcardIndex

MAX_LISTED_BYTES = 4096
"""How much a preflight's response lists; of longer lists it names what was requested, as proxies limit headers."""
VARY_PREFLIGHT: Line = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")

_ALWAYS_ALLOWED_METHODS = frozenset((b"GET", b"HEAD", b"POST"))
_ANY = ANY.encode()
_NEVER = -math.inf
_FOREVER = math.inf


class CompiledPolicy:
    """A policy in the form that requests are held against. Immutable; lookups cost the same for any length."""

    __slots__ = (
        "_any_header", "_any_method", "_exact", "_listed_headers", "_listed_lines", "_listed_methods", "_methods",
        "_preflight_end", "_request_headers", "_star_covers_authorization", "_wildcard_index", "_wildcards",
        "actual_lines", "any_until", "is_empty", "service", "tenant",
    )  # fmt: skip

    def __init__(self, tenant: str, service: str, policy: Policy) -> None:
        self.tenant = tenant
        self.service = service
        until = {
            entry.pattern.encode(): _FOREVER if entry.expires_at is None else entry.expires_at
            for entry in policy.allow_origins
        }
        self.any_until = until.pop(_ANY, _NEVER)
        # Apart, so that an Origin header that spells a wildcard never equals one.
        self._exact = {pattern: end for pattern, end in until.items() if b"*" not in pattern}
        self._wildcards = {pattern: end for pattern, end in until.items() if b"*" in pattern}
        self._wildcard_index = WildcardIndex(pattern.decode() for pattern in self._wildcards)
        self.is_empty = not policy.allow_origins
        self._methods = _ALWAYS_ALLOWED_METHODS | {method.encode() for method in policy.allow_methods}
        self._any_method = b"*" in self._methods
        self._request_headers = frozenset(name.encode() for name in policy.allow_headers)
        self._any_header = b"*" in self._request_headers
        self._star_covers_authorization = policy.allow_credentials
        self._listed_methods = _listed(policy.allow_methods)
        self._listed_headers = _listed(policy.allow_headers)
        credentials = ((b"access-control-allow-credentials", b"true"),) if policy.allow_credentials else ()
        names = ", ".join(policy.expose_headers).encode()
        exposed = ((b"access-control-expose-headers", names),) if names else ()
        max_age = () if policy.max_age is None else ((b"access-control-max-age", b"%d" % policy.max_age),)
        self.actual_lines: tuple[Line, ...] = (*credentials, *exposed)
        self._preflight_end: tuple[Line, ...] = (*credentials, *max_age, VARY_PREFLIGHT)
        self._listed_lines = self._naming((), ())

    def match(self, origin: bytes, now: float) -> tuple[bytes, float] | None:
        """The pattern that allows `origin` at `now` and until when it will, or None.

        `*` comes first, and nothing is looked at for it: what it allows is anonymous and the same for everyone, so that
        a listed origin beside it must not make the responses differ.
        """
        if now < self.any_until:
            return _ANY, self.any_until
        until = self._exact.get(origin, _NEVER)
        if now < until:
            return origin, until
        if not self._wildcards:
            return None
        for pattern in self._wildcard_index.candidates(origin):
            until = self._wildcards.get(pattern, _NEVER)
            if now < until:
                # Only now, so that what no pattern would match costs no more than the lookup.
                return (pattern, until) if Origin.parse(origin) is not None else None
        return None

    def allows_method(self, method: bytes) -> bool:
        """Whether a preflight for `method` passes. Case-sensitive; GET, HEAD and POST always do."""
        return method in self._methods or (self._any_method and is_method(method))

    def allows_headers(self, names: Sequence[bytes]) -> bool:
        """Whether a preflight for the lower-case header `names` passes."""
        if self._request_headers.issuperset(names):
            return True
        if not self._any_header:
            return False
        is_covered = self._star_covers_authorization or b"authorization" in self._request_headers
        return is_covered or b"authorization" not in names

    def preflight_lines(self, method: bytes, names: Sequence[bytes]) -> tuple[Line, ...]:
        """What a preflight that passes is answered, but for its origin: all that is listed, and what `*` allowed.

        All of it, because browsers keep one answer for each origin and URL (Fetch, section 4.9).
        """
        methods = () if method in self._listed_methods or method in _ALWAYS_ALLOWED_METHODS else (method,)
        others = [name for name in names if name not in self._listed_headers]
        return self._naming(methods, others) if methods or others else self._listed_lines

    def _naming(self, methods: Sequence[bytes], names: Sequence[bytes]) -> tuple[Line, ...]:
        """The lines that name what is listed, and these as well."""
        all_methods = b", ".join((*self._listed_methods, *methods))
        all_names = b", ".join(dict.fromkeys((*self._listed_headers, *names)))
        return (
            *(((b"access-control-allow-methods", all_methods),) if all_methods else ()),
            *(((b"access-control-allow-headers", all_names),) if all_names else ()),
            *self._preflight_end,
        )


def is_method(method: bytes) -> bool:
    """Whether `method` is a token, and no longer than any method."""
    return len(method) <= MAX_METHOD_BYTES and is_token(method)


def _listed(values: Sequence[str]) -> Mapping[bytes, None]:
    """What a policy lists, in its order; nothing of a list that is too long for a response header."""
    listed = {value.encode(): None for value in values if value != ANY}
    return listed if sum(map(len, listed)) <= MAX_LISTED_BYTES else {}
