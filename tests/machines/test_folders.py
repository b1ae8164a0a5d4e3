"""The folder of a log of one machine that is started with DUALBUS_LOG: a wrong address changes nothing in it."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from dualbus.log.contract import LogDamaged, LogError
from dualbus.log.engine import open_log, open_shared_log, shared_name
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.operations.moving import end, fill
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.servers import Servers, needs_nats

pytestmark = [needs_nats, pytest.mark.processes]


@pytest.fixture
def url(one_server: Servers) -> str:
    """The address of a new log."""
    return one_server.new_url()


def write(folder: Path, key: str) -> None:
    """Append a decision to the log of one machine."""
    with closing(open_log(folder, lambda secret: GENESIS)) as log:
        assert log.append([decided(key, event())]).decisions == 1


def start(folder: Path, url: str) -> None:
    """Open a folder as commandbus does with DUALBUS_LOG."""
    open_shared_log(url, folder, lambda secret: GENESIS, folder.name).close()


def test_with_the_address_of_another_log_the_folder_remains_that_of_one_machine(folder: Path, url: str) -> None:
    start(folder / "other", url)
    write(folder / "one", "k1")

    with pytest.raises(LogDamaged, match=r"The commit log has the log .*: correct DUALBUS_LOG"):
        start(folder / "one", url)
    write(folder / "one", "k2")


def test_before_the_first_move_and_after_a_copy_that_was_not_the_last_the_move_is_named(
    folder: Path, url: str
) -> None:
    write(folder / "one", "k1")
    refused = f"is of one machine, and NATS stream {read_address(url).stream} lacks its commits: .* `dualbus move`"
    with pytest.raises(LogError, match=refused):
        start(folder / "one", url)

    with closing(NatsCommitLog(read_address(url), create=True)) as commits:
        fill(commits, folder / "one", lambda done, total: None)
        write(folder / "one", "k2")
        with pytest.raises(LogError, match=refused):
            start(folder / "one", url)
        write(folder / "one", "k3")

        fill(commits, folder / "one", lambda done, total: None)
    start(folder / "one", url)
    assert shared_name(folder / "one") == f"NATS stream {read_address(url).stream}"


def test_after_the_move_back_and_more_commits_the_address_of_the_hosts_is_refused_without_a_mark(
    folder: Path, url: str
) -> None:
    start(folder / "one", url)
    with closing(NatsCommitLog(read_address(url), create=False)) as commits:
        end(commits, folder / "one", "one")
    (folder / "one" / "log.shared").unlink()
    write(folder / "one", "k1")

    with pytest.raises(LogError, match="The log belongs to the machine one alone since commit 2"):
        start(folder / "one", url)
    write(folder / "one", "k2")


def test_a_changed_commit_is_not_put_into_a_commit_log(folder: Path, url: str) -> None:
    write(folder / "one", "k1")
    write(folder / "one", "k2")
    with closing(apsw.Connection(str(folder / "one" / "log.db"))) as database:
        database.execute("UPDATE events SET data = '{\"changed\": 1}' WHERE position = 2")

    with closing(NatsCommitLog(read_address(url), create=True)) as commits:
        with pytest.raises(LogDamaged, match=r"Commit 2 of the log in .* was changed, and .* `dualbus verify`"):
            fill(commits, folder / "one", lambda done, total: None)
        assert len(commits.get(0, 10)) == 1
    start(folder / "two", url)  # the commits before are those of the log
