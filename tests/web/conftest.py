"""A cluster with a web process that a whole file of tests shares, and a browser."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT


def serving(cluster: Cluster) -> Cluster:
    """Start a cluster with its web process, and wait until all are ready."""
    cluster.start()
    cluster.start("web")
    cluster.wait_until_ready()
    wait_until_serving(cluster)
    return cluster


def wait_until_serving(cluster: Cluster) -> None:
    """Wait until the web process accepts connections."""

    def answers() -> bool:
        try:
            return httpx.get(f"{cluster.http}/healthz").status_code == 200
        except httpx.TransportError:
            assert cluster.process("web").running, cluster.process("web").stderr_text
            return False

    until(answers, what="the web process serves")


def head(cluster: Cluster) -> bytes:
    """Return the headers of a request over a socket: the host and the token."""
    return f"Host: localhost\r\nAuthorization: {cluster.http_headers['authorization']}\r\n".encode()


@pytest.fixture(scope="module")
def app() -> str:
    """The application of the cluster; a file of tests may have another."""
    return "users:app"


@pytest.fixture(scope="module")
def site(app: str) -> Iterator[Cluster]:
    """A running cluster with a web process, for one file of tests."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, app, cwd=ROOT) as made:
        yield serving(made)
    shutil.rmtree(folder)


@pytest.fixture
def browser(site: Cluster) -> Iterator[httpx.Client]:
    """A client that keeps cookies."""
    with httpx.Client(base_url=site.http, headers=site.http_headers, timeout=60) as made:
        yield made
