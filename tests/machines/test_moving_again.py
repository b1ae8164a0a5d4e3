"""A log moves from one commit log to another, or back, while other hosts write: a single place receives commits."""

from contextlib import closing
from pathlib import Path

import pytest

from dualbus.log.contract import LogError
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.testing import Cluster
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.servers import Servers, needs_nats
from tests.machines.test_moving import delete_stream, dualbus

pytestmark = [needs_nats, pytest.mark.timeout(120)]


@pytest.fixture
def url(one_server: Servers) -> str:
    """The address of a new log."""
    return one_server.new_url()


def opened(url: str, folder: Path) -> SharedLog:
    """Open a replica."""
    return SharedLog(folder, NatsCommitLog(read_address(url), create=True), lambda secret: GENESIS, folder.name)


def bodies(url: str) -> list[bytes]:
    """Return the commits of a commit log."""
    with closing(NatsCommitLog(read_address(url), create=False)) as commits:
        return commits.get(0, 100)


def test_a_move_to_another_commit_log_is_refused_until_no_host_writes_to_the_first(
    cluster: Cluster, url: str, folder: Path, one_server: Servers
) -> None:
    new = one_server.new_url()
    opened(url, cluster.data).close()
    with closing(opened(url, folder / "two")) as two:
        refused = rf"is a\s+replica of\s+NATS\s+stream\s+{read_address(url).stream}:\s+stop\s+commandbus"
        with pytest.raises(AssertionError, match=refused):
            dualbus(cluster, "move", new)
        assert bodies(new) == []

        cluster.environ |= {"DUALBUS_LOG": url, "DUALBUS_HOST": "h1"}
        dualbus(cluster, "move", "sqlite:")
        assert "The log has moved, with 1 commits" in dualbus(cluster, "move", new)
        assert len(bodies(new)) == 1
        with pytest.raises(LogError, match="The log belongs to the machine h1 alone since commit 2"):
            two.append([decided("late", event())])
        opened(new, cluster.data).close()


def test_a_move_to_an_empty_commit_log_of_the_same_name_is_refused(cluster: Cluster, url: str) -> None:
    opened(url, cluster.data).close()
    assert "The log has moved, with 1 commits" in dualbus(cluster, "move", url)  # again
    delete_stream(url)

    with pytest.raises(AssertionError, match=r"that\s+has\s+lost\s+its\s+commits,\s+run\s+`dualbus\s+refill`"):
        dualbus(cluster, "move", url)
    assert bodies(url) == []


@pytest.mark.parametrize("command", [("move", "sqlite:"), ("refill",)])
def test_a_replica_is_neither_moved_back_nor_put_into_a_commit_log_with_the_address_of_an_earlier_one(
    cluster: Cluster, url: str, folder: Path, one_server: Servers, command: tuple[str, ...]
) -> None:
    new = one_server.new_url()
    opened(url, cluster.data).close()
    cluster.environ["DUALBUS_LOG"] = url
    dualbus(cluster, "move", "sqlite:")
    dualbus(cluster, "move", new)
    before = bodies(url)
    with closing(opened(new, folder / "two")) as two:
        wrong = rf"replica\s+of\s+NATS\s+stream\s+{read_address(new).stream},\s+and\s+DUALBUS_LOG"
        with pytest.raises(AssertionError, match=wrong):
            dualbus(cluster, *command)
        assert bodies(url) == before
        assert two.append([decided("next", event())]).decisions == 1
    opened(new, cluster.data).close()
