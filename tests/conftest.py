"""Fixtures: a cluster of real processes, and a client of it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster
from tests.raw import RawClient

ROOT = Path(__file__).parents[1]
CLUSTERS = {"cluster", "dualbus_cluster"}  # fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what may start processes: `make quick` leaves out a file that can, and a test with a cluster."""
    for item in items:
        imported = vars(getattr(item, "module", None)) if hasattr(item, "module") else {}
        if {"subprocess", "Cluster"} & imported.keys() or CLUSTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("processes")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: an ipc path has at most 107 characters."""
    made = Path(tempfile.mkdtemp(prefix="db"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster of which nothing runs yet."""
    with Cluster(folder, cwd=ROOT) as made:
        yield made


@pytest.fixture
def running(cluster: Cluster) -> Cluster:
    """A cluster of which everything was started; requests wait until it is ready."""
    cluster.start()
    return cluster


@pytest.fixture
def client(running: Cluster) -> Iterator[RawClient]:
    """A client of the running cluster."""
    with RawClient(running.front) as made:
        yield made
