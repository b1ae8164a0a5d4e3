"""The pytest plugin: fixtures for a running cluster, and readable differences of messages."""

import os
from collections.abc import Iterator

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
    """A running cluster of real processes in a temporary folder.

    The cluster has a reactor if the application has reactions. Clients of the test have the keys of the cluster and
    the default timeout, a minute.
    """
    with Cluster(app=dualbus_app, cwd=pytestconfig.rootpath) as cluster:
        for variable in ("DUALBUS_TIMEOUT_MS", "DUALBUS_DATA"):
            monkeypatch.setenv(variable, cluster.environ[variable])
        yield cluster


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Describe the differences of messages field by field."""
    return differences(left, right) if op == "==" else None
