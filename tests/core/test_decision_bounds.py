"""What a chain remembers is bounded, and never outlives what admitted it."""

from __future__ import annotations

import sys

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import MAX_REMEMBERED, Chain, Reason, decide
from corspolicy.core.policy import OriginEntry, Policy

ORIGIN = b"https://a.example.com"


def _chain(**values: object) -> Chain:
    policy = Policy(allow_origins=(OriginEntry("https://*.example.com", 100.0),), **values)  # type: ignore[arg-type]
    return Chain([CompiledPolicy("acme", "default", policy)])


def _preflight(method: bytes, headers: bytes = b"") -> list[tuple[bytes, bytes]]:
    return [
        (b"origin", ORIGIN),
        (b"access-control-request-method", method),
        (b"access-control-request-headers", headers),
    ]


def _remembered_bytes(chain: Chain) -> int:
    remembered = chain._remembered
    keys = (part for key in remembered for part in (key if isinstance(key, tuple) else (key,)))
    return sum(map(sys.getsizeof, keys))


def test_forged_preflights_do_not_grow_memory() -> None:
    chain = _chain(allow_methods=("*",), allow_headers=("*",))
    for index in range(5_000):
        decide(chain, "OPTIONS", _preflight(b"M%d" % index, b"x-%d," % index * 100), 0.0)
        decide(chain, "OPTIONS", _preflight(b"M" * 60_000 + b"%d" % index), 0.0)
        decide(chain, "GET", [(b"origin", b"https://a%d.example.com" % index)], 0.0)
    assert len(chain._remembered) <= MAX_REMEMBERED
    assert _remembered_bytes(chain) < 100_000


def test_a_method_longer_than_any_is_refused() -> None:
    chain = _chain(allow_methods=("*",))
    assert decide(chain, "OPTIONS", _preflight(b"M" * 64), 0.0).allowed
    decision = decide(chain, "OPTIONS", _preflight(b"M" * 65), 0.0)
    assert (decision.allowed, decision.reason, decision.status) == (False, Reason.METHOD_MALFORMED, 403)


def test_what_is_remembered_ends_with_the_entry_that_admitted_it() -> None:
    chain = _chain(allow_methods=("PUT",))
    for lines, method in ((_preflight(b"PUT"), "OPTIONS"), ([(b"origin", ORIGIN)], "GET")):
        assert decide(chain, method, lines, 99.9).allowed
        assert decide(chain, method, lines, 99.9).allowed
        assert not decide(chain, method, lines, 100.0).allowed
