"""Fixtures: a cluster of real processes, and a client of it."""

import inspect
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from dualbus.testing import Cluster
from dualbus.testing.cluster import TIMEOUT_MS, Process
from tests import forked, keyring
from tests.raw import RawClient

ROOT = Path(__file__).parents[1]
STARTERS = {"subprocess", "Popen", "Cluster", "Client", "AsyncClient", "RawClient"}  # of processes, or with processes


def pytest_configure() -> None:
    """Give the clients and processes of the tests the deadline of test clusters, unless the test sets another."""
    os.environ["DUALBUS_TIMEOUT_MS"] = str(TIMEOUT_MS)
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    keyring.keys()
    Process.start = forked.Forked


def pytest_unconfigure() -> None:
    """Remove the keys, which the workers of a run share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(keyring.FOLDER, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that may start processes: `make quick` leaves them out."""
    for item in items:
        if isinstance(item, pytest.Function):
            fixtures = [fixture.func for found in item._fixtureinfo.name2fixturedefs.values() for fixture in found]
            if any(map(_may_start, (item.function, *fixtures))):
                item.add_marker("processes")


@cache
def _may_start(function: object) -> bool:
    return _reaches_starter(function, set())


def _reaches_starter(function: object, seen: set[object]) -> bool:
    """Return whether a function names a starter, itself or through functions and classes of the tests."""
    function = inspect.unwrap(function) if callable(function) else function
    if isinstance(function, type):
        return any(_reaches_starter(member, seen) for member in vars(function).values())
    if not isinstance(function, FunctionType) or function in seen or not function.__module__.startswith("tests."):
        return False
    seen.add(function)
    names = _names(function.__code__)
    return bool(STARTERS & names) or any(_reaches_starter(function.__globals__.get(name), seen) for name in names)


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, with those of the functions inside."""
    return set(code.co_names).union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


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
