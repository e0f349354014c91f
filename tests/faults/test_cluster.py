"""What is published is in a Cluster, and moves from one of its nodes to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.line import NEW, Services
from tests.redises import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


@pytest.fixture
def line(new_database: Callable[[], str], cluster: Cluster) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(stack, new_database(), cluster.url, cluster.url, cluster.url)


def test_what_is_published_moves_to_another_node(line: Services, cluster: Cluster) -> None:
    before, during, after = line.new_tenant(), line.new_tenant(), line.new_tenant()
    line.change(before)
    line.wait_until_shown(before, NEW)
    assert [bool(node.client.dbsize()) for node in cluster.nodes] == [False, True, False]
    with cluster.moving():
        line.change(during)
    line.recovers("slot moved to another node of the Cluster", during, keeping=after)
    line.change(after)
    line.wait_until_shown(after, NEW)
    line.wait_until_shown(before, NEW)
    assert [bool(node.client.dbsize()) for node in cluster.nodes] == [True, False, False]
    assert len(line.api.http.get("/v1/fleet").json()["processes"]) == 2
    line.follows()
