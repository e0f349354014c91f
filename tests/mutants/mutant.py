"""A mechanism that guards against a fault, and how to take it out."""

from __future__ import annotations

from typing import NamedTuple

FAULTS, CLIENT = "tests/faults/test_", "tests/client/test_"


class Mutant(NamedTuple):
    """A mechanism, where it is, what stands there, what stands there instead, and the test that finds out."""

    mechanism: str
    file: str
    old: str
    new: str
    test: str
