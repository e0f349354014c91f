from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chain.line import Line


@pytest.fixture(scope="module")
def line(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(stack, new_database(), tmp_path_factory.mktemp("redis"))
