"""A log moves from one machine to several and back, and a lost stream is filled again."""

import re
import shutil
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dualbus import Client
from dualbus.log.contract import LogError
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.operations.moving import end
from dualbus.operations.verify import verify
from dualbus.testing import Cluster, until
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.servers import Servers, needs_nats
from users import app as users_app

pytestmark = [needs_nats, pytest.mark.timeout(120)]


@pytest.fixture
def url(one_server: Servers) -> str:
    """The address of a new log."""
    return one_server.new_url()


def dualbus(cluster: Cluster, *arguments: str) -> str:
    """Run the command line; return its output. Raises CalledProcessError."""
    command = [sys.executable, "-m", "dualbus", *arguments]
    ran = subprocess.run(command, cwd=cluster.cwd, env=cluster.environ, capture_output=True, text=True)
    if ran.returncode:
        raise AssertionError(ran.stderr)
    return ran.stdout


def create(client: Client, names: range) -> list[object]:
    """Create users under keys of their own; return their events."""
    return [
        client.command("CreateUser", idempotency_key=f"k{n}", name=f"u{n}", email="u@example.com").events
        for n in names
    ]


def delete_stream(url: str) -> None:
    with closing(NatsCommitLog(read_address(url), create=False)) as commits:
        commits._thread.run(commits._stream._request(f"STREAM.DELETE.{commits._stream.name}", None), 10)


def test_a_log_moves_while_its_cluster_runs_with_its_keys_and_back(cluster: Cluster, url: str) -> None:
    cluster.start()
    with Client(cluster.front) as client:
        first = create(client, range(30))
        assert "commandbus is running: stop it, and run this command again" in dualbus(cluster, "move", url)
        more = create(client, range(30, 40))
        cluster.stop("commandbus")
        assert "The log has moved, with " in dualbus(cluster, "move", url)
        before = verify(cluster.data, users_app)
        cluster.environ["DUALBUS_LOG"] = url
        cluster.stop("gateway")
        cluster.start("gateway", "commandbus")

        assert create(client, range(40)) == first + more
        last = create(client, range(40, 50))
        assert re.search(r"Machine +Role +Writer since(.|\n)* active +\d+ +\d+ +0 ", dualbus(cluster, "status"))
        until(lambda: verify(cluster.data, users_app).position == before.position + 10)

        cluster.stop("commandbus")
        del cluster.environ["DUALBUS_LOG"]
        refused = cluster.start("commandbus")[0]
        assert refused.wait() == 74
        name = read_address(url).stream
        assert f"is a replica of NATS stream {name}: set DUALBUS_LOG to its address." in refused.stderr_text
        cluster.environ["DUALBUS_LOG"] = url
        assert "belongs to this machine alone" in dualbus(cluster, "move", "sqlite:")
        del cluster.environ["DUALBUS_LOG"]
        cluster.start("commandbus")
        assert create(client, range(50)) == first + more + last
        create(client, range(50, 60))
    assert until(lambda: verify(cluster.data, users_app).position == before.position + 20)


def test_after_the_last_copy_the_settings_of_one_machine_are_refused(cluster: Cluster, url: str) -> None:
    cluster.start("gateway", "commandbus")
    with Client(cluster.front) as client:
        create(client, range(3))
        dualbus(cluster, "move", url)
        cluster.restart("commandbus")  # the copy was not the last
        create(client, range(5))
        cluster.stop("commandbus")

        assert "The log has moved, with " in dualbus(cluster, "move", url)
        refused = cluster.start("commandbus")[0]
        assert refused.wait() == 74
        name = read_address(url).stream
        assert f"is a replica of NATS stream {name}: set DUALBUS_LOG to its address." in refused.stderr_text
        assert stat.S_IMODE((cluster.data / "log.shared").stat().st_mode) == 0o600
        with pytest.raises(AssertionError, match=r"set DUALBUS_LOG to its address\s+for this command"):
            dualbus(cluster, "move", "sqlite:")
        cluster.environ["DUALBUS_LOG"] = url
        cluster.start("commandbus")
        create(client, range(6))


def test_after_the_move_back_no_other_host_writes_and_the_move_may_be_repeated(
    cluster: Cluster, url: str, folder: Path
) -> None:
    cluster.environ |= {"DUALBUS_LOG": url, "DUALBUS_HOST": "h1"}
    cluster.start()
    with Client(cluster.front) as client, Cluster(folder / "other", cwd=cluster.cwd) as other:
        create(client, range(3))
        other.folder.mkdir()
        other.environ |= {"DUALBUS_LOG": url, "DUALBUS_BACK": cluster.addresses["back"], "DUALBUS_HOST": "h2"}
        other.start("commandbus")
        until(lambda: (other.data / "log.db").exists())
        other.stop("commandbus")
        cluster.stop("commandbus")

        dualbus(cluster, "move", "sqlite:")
        dualbus(cluster, "move", "sqlite:")  # as after a crash
        moved = "The log belongs to the machine h1 alone since commit "
        refused = other.start("commandbus")[0]
        assert refused.wait() == 74
        assert moved in refused.stderr_text
        with pytest.raises(AssertionError, match=r"The log belongs to the machine h1\s+alone"):
            dualbus(other, "move", "sqlite:")
        for path in other.data.glob("log.db*"):
            path.unlink()
        refused = other.start("commandbus")[0]
        assert refused.wait() == 74
        assert moved in refused.stderr_text

        del cluster.environ["DUALBUS_LOG"]
        cluster.start("commandbus")
        create(client, range(5))
        cluster.stop("commandbus")
        with pytest.raises(AssertionError, match=r"The log belongs to the machine h1\s+alone"):
            dualbus(cluster, "move", url)
        cluster.environ["DUALBUS_LOG"] = url
        dualbus(cluster, "move", "sqlite:")  # after a start with the old settings
        del cluster.environ["DUALBUS_LOG"]
        cluster.start("commandbus")
        create(client, range(6))
    until(lambda: verify(cluster.data, users_app))


def test_a_writer_that_is_active_during_the_move_back_ends_or_is_first(url: str, folder: Path) -> None:
    def opened(name: str) -> SharedLog:
        return SharedLog(folder / name, NatsCommitLog(read_address(url), create=True), lambda secret: GENESIS, name)

    opened("one").close()
    with closing(opened("two")) as two, closing(NatsCommitLog(read_address(url), create=False)) as commits:
        two.append([decided("first", event())])
        with pytest.raises(LogError, match="more than the log in this folder"):
            end(commits, folder / "one", "one")
        opened("one").close()

        end(commits, folder / "one", "one")
        with pytest.raises(LogError, match="The log belongs to the machine one alone since commit 3"):
            two.append([decided("second", event())])


def test_a_lost_stream_is_filled_from_a_replica_commit_for_commit(cluster: Cluster, url: str) -> None:
    cluster.environ["DUALBUS_LOG"] = url
    cluster.start()
    with Client(cluster.front) as client:
        events = create(client, range(20))
        cluster.stop("commandbus")
        with closing(NatsCommitLog(read_address(url), create=False)) as commits:
            before = commits.get(0, 1000)
        delete_stream(url)

        assert f"has all {len(before)} commits" in dualbus(cluster, "refill")
        assert "has all" in dualbus(cluster, "refill")  # nothing is missing
        with closing(NatsCommitLog(read_address(url), create=False)) as commits:
            after = commits.get(0, 1000)
        assert [len(body) for body in after[:1]] and len(after) == len(before)
        cluster.start("commandbus")
        assert create(client, range(21))[:20] == events
    # A host with an empty folder copies the filled stream, and verifies it.
    with Cluster(cluster.folder / "new", cwd=cluster.cwd) as other:
        other.folder.mkdir()
        other.environ |= {"DUALBUS_LOG": url, "DUALBUS_BACK": cluster.addresses["back"]}
        other.start("commandbus", "projector")
        until(lambda: (other.data / "log.db").exists())
        until(lambda: verify(other.data, users_app).position == verify(cluster.data, users_app).position)


def test_a_restored_log_continues_on_a_new_stream_and_the_old_replicas_are_refused(
    cluster: Cluster, url: str, folder: Path, one_server: Servers
) -> None:
    cluster.environ["DUALBUS_LOG"] = url
    cluster.start()
    with Client(cluster.front) as client, Cluster(folder / "other", cwd=cluster.cwd) as other:
        events = create(client, range(10))
        dualbus(cluster, "backup", str(folder / "copy.db"))
        create(client, range(10, 15))  # after the backup
        other.folder.mkdir()
        other.environ |= {"DUALBUS_LOG": url, "DUALBUS_BACK": cluster.addresses["back"]}
        other.start("commandbus")
        until(lambda: (other.data / "log.db").exists())
        other.stop("commandbus")
        for name in ("commandbus", "projector"):
            cluster.stop(name)
        for path in cluster.data.glob("log.db*"):
            path.unlink()

        dualbus(cluster, "restore", str(folder / "copy.db"))
        refused = cluster.start("commandbus")[0]
        assert refused.wait() == 74
        assert "incarnation" in refused.stderr_text
        new = one_server.new_url()
        assert "The log has moved" in dualbus(cluster, "move", new)
        cluster.environ["DUALBUS_LOG"] = new
        cluster.start("commandbus", "projector")
        assert create(client, range(10)) == events
        create(client, range(20, 21))

        other.environ["DUALBUS_LOG"] = new
        refused = other.start("commandbus")[0]
        assert refused.wait() == 74
        assert "incarnation" in refused.stderr_text
        shutil.rmtree(other.data)
        other.start("commandbus", "projector")
        until(lambda: (other.data / "log.db").exists() and list(other.data.glob("read-*.db")))
        until(lambda: verify(other.data, users_app).position == verify(cluster.data, users_app).position)


def test_a_commit_log_of_another_log_is_not_filled(cluster: Cluster, url: str, folder: Path) -> None:
    cluster.start("commandbus")
    until(lambda: (cluster.data / "log.db").exists())
    dualbus(cluster, "move", url)
    with Cluster(folder / "other", cwd=cluster.cwd) as other:
        other.folder.mkdir()
        other.start("commandbus")
        until(lambda: (other.data / "log.db").exists())

        with pytest.raises(AssertionError, match=r"The commit log has the log .*, and the replica here is of"):
            dualbus(other, "move", url)


def test_the_one_machine_cluster_has_no_log_to_fill(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="DUALBUS_LOG is not set"):
        dualbus(cluster, "refill")
