"""NATS servers that the tests of this folder share: each test has a log of its own."""

from collections.abc import Iterator

import pytest

from tests.machines.servers import Servers, running_servers


@pytest.fixture(scope="package")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A single server."""
    with running_servers(tmp_path_factory.mktemp("nats"), 1) as found:
        yield found


@pytest.fixture(scope="package")
def three_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A cluster. A test that kills a server starts the server again."""
    with running_servers(tmp_path_factory.mktemp("nats"), 3) as found:
        yield found


@pytest.fixture(params=["one_server", "three_servers"])
def servers(request: pytest.FixtureRequest) -> Servers:
    """Each of the two."""
    found: Servers = request.getfixturevalue(request.param)
    return found
