"""Clients of the running example."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dualbus.testing import Cluster
from tests.raw import RawClient


@pytest.fixture
def clients(dualbus_cluster: Cluster) -> Iterator[list[RawClient]]:
    """Three clients of the running cluster, each with a connection of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(RawClient(dualbus_cluster.front)) for _ in range(3)]
