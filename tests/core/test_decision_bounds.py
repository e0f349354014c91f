"""What a decision costs and what a chain remembers is bounded, and never outlives what allowed it."""

from __future__ import annotations

import sys
from itertools import chain as concatenated
from itertools import repeat

from corspolicy.core.compiled import CompiledPolicy
from corspolicy.core.decision import MAX_REMEMBERED, Chain, Reason, decide
from corspolicy.core.policy import OriginEntry, Policy
from corspolicy.core.request import CONDITIONAL, MALFORMED, MAX_REQUEST_HEADERS_BYTES, read_preflight
from corspolicy.core.wildcards import WildcardIndex

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
    remembered = chain.remembered
    keys = (part for key in remembered for part in (key if isinstance(key, tuple) else (key,)))
    return sum(map(sys.getsizeof, keys))


def test_forged_preflights_do_not_grow_memory() -> None:
    chain = _chain(allow_methods=("*",), allow_headers=("*",))
    for index in range(5_000):
        decide(chain, "OPTIONS", _preflight(b"M%d" % index, b"x-%d," % index * 100), 0.0)
        decide(chain, "OPTIONS", _preflight(b"M" * 60_000 + b"%d" % index), 0.0)
        decide(chain, "GET", [(b"origin", b"https://a%d.example.com" % index)], 0.0)
    assert len(chain.remembered) <= MAX_REMEMBERED
    assert _remembered_bytes(chain) < 150_000


def test_a_method_longer_than_any_is_denied() -> None:
    chain = _chain(allow_methods=("*",))
    assert decide(chain, "OPTIONS", _preflight(b"M" * 64), 0.0).allowed
    decision = decide(chain, "OPTIONS", _preflight(b"M" * 65), 0.0)
    assert (decision.allowed, decision.reason, decision.status) == (False, Reason.METHOD_MALFORMED, 403)


def test_what_is_remembered_expires_with_the_entry_that_allowed_it() -> None:
    chain = _chain(allow_methods=("PUT",))
    for lines, method in ((_preflight(b"PUT"), "OPTIONS"), ([(b"origin", ORIGIN)], "GET")):
        assert decide(chain, method, lines, 99.9).allowed
        assert decide(chain, method, lines, 99.9).allowed
        assert not decide(chain, method, lines, 100.0).allowed


def test_a_second_origin_line_decides_at_once() -> None:
    decision = decide(_chain(), "GET", repeat((b"origin", ORIGIN)), 0.0)
    assert (decision.allowed, decision.hidden) == (False, CONDITIONAL)
    method = (b"access-control-request-method", b"PUT")
    preflight = concatenated([method], repeat((b"origin", ORIGIN)))
    assert decide(_chain(), "OPTIONS", preflight, 0.0).status == 403
    preflight = concatenated([(b"origin", ORIGIN)], repeat(method))
    assert decide(_chain(allow_methods=("*",)), "OPTIONS", preflight, 0.0).reason is Reason.METHOD_MALFORMED


def test_a_second_line_settles_what_is_left_to_look_for() -> None:
    origin, method = (b"origin", ORIGIN), (b"access-control-request-method", b"PUT")
    assert read_preflight([origin, origin, method]) == (MALFORMED, b"PUT", None)
    assert read_preflight([origin, origin]) == (MALFORMED, None, None)
    assert read_preflight([method, method, origin]) == (ORIGIN, MALFORMED, None)
    assert read_preflight([method, method]) == (None, MALFORMED, None)
    long = (b"origin", b"x" * 60_000)
    assert read_preflight([method, method, long]) == (MALFORMED, MALFORMED, None)
    assert read_preflight([origin, origin, (method[0], b"M" * 60_000)]) == (MALFORMED, MALFORMED, None)


def test_lines_of_requested_headers_are_joined_no_further_than_the_limit() -> None:
    line = (b"access-control-request-headers", b"x-a")
    joined = read_preflight([line] * 100_000)[2]
    assert joined is not None
    assert MAX_REQUEST_HEADERS_BYTES < len(joined) <= MAX_REQUEST_HEADERS_BYTES + len(b",x-a")
    empty = read_preflight([(b"access-control-request-headers", b"")] * 100_000)[2]
    assert empty is not None
    assert len(empty) == MAX_REQUEST_HEADERS_BYTES + 1


def test_no_more_labels_are_tried_than_the_longest_pattern_has() -> None:
    origin = b"https://" + b"a." * 115 + b"example.com"
    index = WildcardIndex(["https://*.example.com", "https://*.api.example.com:*", "https://pr-*.example.com"])
    assert len(list(index.candidates(origin))) == 1 + 2 * 3
    assert list(WildcardIndex(["https://example.com:*"]).candidates(origin)) == [origin + b":*"]


def test_origins_under_an_anonymous_any_are_not_remembered() -> None:
    policy = Policy(allow_origins=(OriginEntry("*"),), allow_methods=("PUT",))
    chain = Chain([CompiledPolicy("acme", "default", policy)])
    for index in range(1_000):
        assert decide(chain, "GET", [(b"origin", b"x" * 60_000 + b"%d" % index)], 0.0).allowed
        preflight = [(b"origin", b"x" * 60_000 + b"%d" % index), (b"access-control-request-method", b"PUT")]
        assert decide(chain, "OPTIONS", preflight, 0.0).allowed
    assert _remembered_bytes(chain) < 1_000


def test_long_origins_are_not_remembered_behind_a_list_either() -> None:
    listed = Policy(allow_origins=(OriginEntry("https://app.example.com"),))
    public = Policy(allow_origins=(OriginEntry("*"),))
    chain = Chain([CompiledPolicy("acme", "default", listed), CompiledPolicy("platform", "default", public)])
    for index in range(1_000):
        assert decide(chain, "GET", [(b"origin", b"x" * 60_000 + b"%d" % index)], 0.0).allowed
    assert _remembered_bytes(chain) < 1_000
