"""The mechanisms that `make mutants` takes out are still where it looks for them."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import MUTANTS
from tests.mutants.mutant import Mutant
from tests.support import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.mechanism for mutant in MUTANTS])
def test_a_mechanism_can_be_taken_out_and_has_a_test(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    file, _, test = mutant.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text()
