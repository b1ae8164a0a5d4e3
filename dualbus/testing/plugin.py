"""What pytest gets from dualbus by itself: a running cluster, and events whose difference one can see."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing.cluster import Cluster
from dualbus.testing.differences import differences

pytest.register_assert_rewrite("dualbus.testing.log_contract")


@pytest.fixture
def dualbus_app() -> str:
    """The application that `dualbus_cluster` runs; to run yours, define a fixture of this name that returns it."""
    return os.environ.get("DUALBUS_APP", "users:app")


@pytest.fixture
def dualbus_cluster(
    dualbus_app: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A running cluster: real processes in a folder of their own. Requests wait until it is ready.

    Clients that the test makes have the cluster's deadline, a minute, where the test gives them no `timeout`.
    """
    folder = Path(tempfile.mkdtemp(prefix="db"))  # short: an ipc path has at most 107 characters
    try:
        with Cluster(folder, dualbus_app, cwd=pytestconfig.rootpath) as cluster:
            monkeypatch.setenv("DUALBUS_TIMEOUT_MS", cluster.environ["DUALBUS_TIMEOUT_MS"])
            cluster.start()
            yield cluster
    finally:
        shutil.rmtree(folder)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say how events differ, field by field."""
    return differences(left, right) if op == "==" else None
