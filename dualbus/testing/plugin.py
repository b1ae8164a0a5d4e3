"""The pytest plugin: fixtures for a running cluster, and readable differences of messages."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing.cluster import Cluster
from dualbus.testing.differences import differences

pytest.register_assert_rewrite("dualbus.testing.log_contract", "dualbus.testing.log_conditions")


@pytest.fixture
def dualbus_app() -> str:
    """The application of `dualbus_cluster`: DUALBUS_APP, or the result of your own fixture with this name."""
    return os.environ.get("DUALBUS_APP", "users:app")


@pytest.fixture
def dualbus_cluster(
    dualbus_app: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A running cluster of real processes in a temporary folder. Requests wait until the cluster is ready.

    Clients of the test have the cluster's keys and default timeout, a minute.
    """
    folder = Path(tempfile.mkdtemp(prefix="db"))  # short: an ipc path has at most 107 characters
    try:
        with Cluster(folder, dualbus_app, cwd=pytestconfig.rootpath) as cluster:
            for variable in ("DUALBUS_TIMEOUT_MS", "DUALBUS_DATA"):
                monkeypatch.setenv(variable, cluster.environ[variable])
            cluster.start()
            yield cluster
    finally:
        shutil.rmtree(folder)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Describe the differences of messages field by field."""
    return differences(left, right) if op == "==" else None
