"""The vectors through `decide`."""

from __future__ import annotations

import time

import pytest

from corspolicy.core.decision import compile_chain, decide, finer_reason
from tests import vectors
from tests.vectors import Vector

CASES = vectors.load(*vectors.DECISIONS)


@pytest.mark.parametrize("case", CASES, ids=vectors.name_of)
def test_decision(case: Vector) -> None:
    chain = compile_chain(case["service"], *vectors.documents(case))
    lines = vectors.lines(case)
    # Twice: the second answer may be a remembered one.
    for _ in range(2):
        decision = decide(chain, case["request"]["method"], lines, time.time())
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in decision.headers}
        expected = case["expect"]
        assert headers == expected["headers"]
        assert len(decision.headers) == len(headers)
        assert decision.status == expected["status"]
        assert decision.allowed == expected["allowed"]
        assert finer_reason(decision, lines) == expected["reason"]
        assert {name for name, _ in lines if name in decision.hidden} == vectors.hidden(case)


def test_every_case_has_its_own_name_and_rule() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 150
    assert {case["rule"] for case in CASES} >= {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 22, 25}
