"""The log is replaced, or loses its tail: `log.head`, kept outside the log's own files, witnesses what it was."""

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus.application.loader import load
from dualbus.log.contract import Head, LogDamaged, VerificationError
from dualbus.log.head import BLOCK, FILE_NAME, Acknowledged, HeadFile, read_head, write_head
from dualbus.log.identity import Identity
from dualbus.operations.verify import verify
from dualbus.readmodel.reader import ReadModelReader
from dualbus.runtime.errors import EXIT_DATA, EXIT_OK
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.judge import read_log
from tests.faults.launch import launched
from tests.faults.seeing import rows
from tests.history import make_history
from tests.raw import RawClient, command, create, query

SEED = 9
USERS = 20
LOST = "The log has lost acknowledged events"
FIRST_START = [
    *[(when, "dualbus.log.sqlite.writer:SqliteLog._create_missing", 1) for when in ("before", "after")],
    *[(when, "dualbus.log.head:write_head", 1) for when in ("before", "after")],
    *[(when, "pathlib:Path.rename", number) for when in ("before", "after") for number in (1, 2)],
    *[(when, "dualbus.log.head:HeadFile.write", 1) for when in ("before", "after")],
    *[(when, "dualbus.log.head:HeadFile.sync", 1) for when in ("before", "after")],
]
A_COMMAND = [
    *[(when, "dualbus.log.sqlite.writer:SqliteLog.append", 1) for when in ("before", "after")],
    *[(when, "dualbus.log.head:HeadFile.write", 1) for when in ("before", "after")],
    *[(when, "dualbus.worker.link:WorkerLink.answer", 1) for when in ("before", "after")],
    *[(when, "dualbus.log.head:HeadFile.sync", 1) for when in ("before", "after")],
]


def fill(cluster: Cluster, users: int = USERS) -> int:
    """Start all processes on a new folder, create users, wait for the read model; return the last position."""
    cluster.start()
    app = load("users:app")
    until(lambda: list(cluster.data.glob("read-*.db")), what="the read model is built, of the first event alone")
    with RawClient(cluster.front) as client:
        bodies = client.ask(*(create(f"Ada {number}") for number in range(users)))
        assert all(body["success"] for body in bodies)
        count = "SELECT count(*) FROM users"
        until(lambda: rows(cluster.data, app, count)[0] == users + 1, what="the read model has every user")
    return users + 1


def kill_all(cluster: Cluster) -> None:
    """Kill every process at once, as the out-of-memory killer or a container's end does."""
    for process in cluster.processes:
        process.send(signal.SIGKILL)
    for process in cluster.processes:
        process.wait()


def stop_all(cluster: Cluster) -> None:
    """End every process in good order."""
    for process in cluster.processes:
        process.send(signal.SIGTERM)
    assert {process.name: process.wait() for process in cluster.processes} == {
        process.name: EXIT_OK for process in cluster.processes
    }


def refused(cluster: Cluster, name: str) -> str:
    """Start a process, expect that it ends with 74 and one sentence for its operator; return what it wrote."""
    [process] = cluster.start(name)
    assert process.wait() == EXIT_DATA, process.stderr_text
    assert "Traceback" not in process.stderr_text
    return process.stderr_text


def commandbus_starts(cluster: Cluster) -> None:
    """Start commandbus, wait until it writes the log, and stop it."""
    [commandbus] = cluster.start("commandbus")
    until(lambda: "Writing the log" in commandbus.stderr_text or not commandbus.running)
    assert commandbus.running, commandbus.stderr_text
    assert cluster.stop("commandbus") == EXIT_OK


def dualbus(cluster: Cluster, *arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on the cluster's data folder."""
    command = [sys.executable, "-m", "dualbus", *map(str, arguments)]
    return subprocess.run(command, env=cluster.environ | environ, cwd=ROOT, capture_output=True, text=True)


def another_log(folder: Path, users: int = 300) -> Path:
    """Make the data folder of another cluster, with a longer log."""
    make_history(folder, users, seed=7)
    return folder


def put(source: Path, data: Path) -> None:
    """Replace the log of a data folder by the one of another."""
    for path in data.glob("log.db*"):
        path.unlink()
    for path in source.glob("log.db*"):
        shutil.copy(path, data)


def checkpoint_log(data: Path) -> str:
    """Return the id of the log that the read model was made from."""
    [path] = data.glob("read-*.db")
    reader = ReadModelReader(path)
    found = reader.checkpoint().identity.log
    reader.close()
    return found


@pytest.mark.parametrize("witness", ["log.head and read model", "log.head", "read model"])
def test_the_log_of_another_cluster_is_refused_at_every_start_and_nothing_is_made_of_it(
    cluster: Cluster, witness: str
) -> None:
    # given a data folder in which another cluster's log was put
    fill(cluster)
    stop_all(cluster)
    log = checkpoint_log(cluster.data)
    put(another_log(cluster.folder / "another"), cluster.data)
    if witness == "log.head":
        for path in cluster.data.glob("read-*"):
            path.unlink()
    if witness == "read model":
        (cluster.data / FILE_NAME).unlink()
    # when commandbus, projector and commandbus are started, each is refused and says what to do
    for name in ("commandbus", "projector", "commandbus"):
        assert "point DUALBUS_DATA to the right folder" in refused(cluster, name)
    # then the read model is the one that was there
    if witness == "log.head":
        assert list(cluster.data.glob("*read-*")) == []
    else:
        assert checkpoint_log(cluster.data) == log


def test_a_log_that_lost_its_wal_together_with_that_of_the_read_model_is_refused(cluster: Cluster) -> None:
    # given acknowledged commands, every process killed, and the -wal of log and read model lost
    position = fill(cluster, 301)
    kill_all(cluster)
    for pattern in ("log.db-*", "read-*.db-*"):
        for path in cluster.data.glob(pattern):
            path.unlink()
    # when commandbus or projector starts, then it is refused
    for name in ("commandbus", "projector", "commandbus"):
        said = refused(cluster, name)
        assert f"{LOST} from position 2 on" in said
        assert f"position {position} was acknowledged" in said
    with pytest.raises(VerificationError, match=f"{LOST}.* position {position} was acknowledged") as found:
        verify(cluster.data, load("users:app"))
    assert found.value.position == 2


def test_a_copy_of_last_weeks_log_is_refused_and_restored(cluster: Cluster) -> None:
    # given a plain copy of the log, more commands, and the copy put in the log's place
    fill(cluster)
    stop_all(cluster)
    last_week = cluster.folder / "last week"
    shutil.copytree(cluster.data, last_week)
    cluster.processes.clear()
    cluster.start("gateway", "commandbus")
    with RawClient(cluster.front) as client:
        assert client.ask(create("Eve"))[0]["success"]
    stop_all(cluster)
    put(last_week, cluster.data)
    # when commandbus starts, then it is refused
    said = refused(cluster, "commandbus")
    assert f"{LOST} from position {USERS + 2} on" in said
    assert "use `dualbus restore`" in said
    # and when the copy is restored, the loss is reported, and all starts
    for path in cluster.data.glob("log.db*"):
        path.unlink()
    restored = dualbus(cluster, "restore", last_week / "log.db")
    assert restored.returncode == EXIT_OK, restored.stderr
    assert f"Positions {USERS + 2} to {USERS + 2} were acknowledged in this folder" in restored.stderr
    commandbus_starts(cluster)
    cluster.processes.clear()
    cluster.start()
    with RawClient(cluster.front) as client:
        created, found = client.ask(create("Eve"), query("ListUsers", limit=100))
        assert created["success"]
        assert len(found["data"]) == USERS + 2


def test_the_files_of_two_logs_are_not_mixed_and_a_refused_log_is_not_written(cluster: Cluster) -> None:
    # given the -wal of another log beside the log
    fill(cluster)
    kill_all(cluster)
    other = Cluster(cluster.folder / "o", cwd=ROOT)
    other.folder.mkdir()
    with other:
        fill(other, 3 * USERS)
        kill_all(other)
    whole = (cluster.data / "log.db-wal").read_bytes()
    shutil.copy(other.data / "log.db-wal", cluster.data)
    (cluster.data / "log.db-shm").unlink()
    before = (cluster.data / "log.db").read_bytes()
    # when commandbus or projector starts, then it is refused, and has not written the -wal into the log
    for name in ("commandbus", "projector", "commandbus"):
        refused(cluster, name)
    assert (cluster.data / "log.db").read_bytes() == before
    # and the right -wal makes the log whole again
    (cluster.data / "log.db-wal").write_bytes(whole)
    (cluster.data / "log.db-shm").unlink(missing_ok=True)
    commandbus_starts(cluster)
    assert verify(cluster.data, load("users:app")).position == USERS + 1


def test_a_log_that_is_gone_is_not_begun_anew(cluster: Cluster) -> None:
    fill(cluster)
    stop_all(cluster)
    for pattern in ("log.db*", "read-*"):
        for path in cluster.data.glob(pattern):
            path.unlink()
    for _ in range(2):
        said = refused(cluster, "commandbus")
        assert f"position {USERS + 1} was acknowledged" in said
        assert "Put the log back or use `dualbus restore`" in said
    assert not (cluster.data / "log.db").exists()


def test_refusals_that_were_acknowledged_are_witnessed(cluster: Cluster) -> None:
    # given a log with nothing but refusals in its -wal, which is lost
    cluster.start("gateway", "commandbus")
    with RawClient(cluster.front) as client:
        [refusal] = client.ask(command("RenameUser", user_id="nobody", name="Ada"))
        assert refusal["success"] is False
    kill_all(cluster)
    for path in cluster.data.glob("log.db-*"):
        path.unlink()
    assert "The log has lost acknowledged refusals" in refused(cluster, "commandbus")
    with pytest.raises(VerificationError, match="The log has lost acknowledged refusals"):
        verify(cluster.data, load("users:app"))


def test_another_life_of_the_log_is_refused_unless_it_was_restored(cluster: Cluster) -> None:
    # given a log that was restored, and the earlier one put back by hand
    fill(cluster)
    stop_all(cluster)
    earlier = cluster.folder / "earlier"
    shutil.copytree(cluster.data, earlier)
    for path in cluster.data.glob("log.db*"):
        path.unlink()
    restored = dualbus(cluster, "restore", earlier / "log.db")
    assert (restored.returncode, restored.stderr) == (EXIT_OK, "")
    commandbus_starts(cluster)
    put(earlier, cluster.data)
    for name in ("commandbus", "projector", "commandbus"):
        assert "is not the restored log" in refused(cluster, name)


def test_restore_and_import_refuse_the_log_head_of_another_log(cluster: Cluster) -> None:
    fill(cluster)
    stop_all(cluster)
    for path in cluster.data.glob("log.db*"):
        path.unlink()
    other = another_log(cluster.folder / "another", 3)
    lines = dualbus(cluster, "export", DUALBUS_DATA=str(other)).stdout
    (cluster.folder / "lines").write_text(lines)
    before = read_head(cluster.data)
    for arguments in (("restore", other / "log.db"), ("import", cluster.folder / "lines")):
        done = dualbus(cluster, *arguments)
        assert done.returncode == 1
        assert f"of which position {USERS + 1} was acknowledged" in done.stderr
        assert "point DUALBUS_DATA to another folder, or move this one away" in done.stderr
    assert read_head(cluster.data) == before
    assert not (cluster.data / "log.db").exists()


@pytest.mark.parametrize("how", ["restore", "import"])
def test_a_restore_or_import_that_is_killed_leaves_a_folder_that_starts_or_says_why_not(
    folder: Path, how: str
) -> None:
    source = another_log(folder / "source", 3)
    cluster = Cluster(folder, cwd=ROOT)
    lines = dualbus(cluster, "export", DUALBUS_DATA=str(source)).stdout
    (folder / "lines").write_text(lines)
    arguments = (how, source / "log.db" if how == "restore" else folder / "lines")
    states = set()
    with cluster:
        for when in ("before", "after"):
            for number in range(1, 6):
                # given a run that is killed at one of its renames
                shutil.rmtree(cluster.data, ignore_errors=True)
                fault = launched("dualbus", "/", "kill", when, "pathlib:Path.rename", number)
                command = [*fault, "--", *map(str, arguments)]
                done = subprocess.run(command, env=cluster.environ, cwd=ROOT, capture_output=True, text=True)
                if done.returncode == EXIT_OK:
                    break
                assert done.returncode == -signal.SIGKILL, done.stderr
                # then the log is whole and starts, or there is none, and nothing is begun in its place
                log, head = (cluster.data / "log.db").exists(), (cluster.data / FILE_NAME).exists()
                states.add((log, head))
                if log:
                    commandbus_starts(cluster)
                elif head:
                    assert "Put the log back or use `dualbus restore`" in refused(cluster, "commandbus")
                if head and not log and how == "restore":
                    assert dualbus(cluster, *arguments).returncode == EXIT_OK
                    commandbus_starts(cluster)
    assert states == {(False, False), (False, True), (True, True)}


def damage(path: Path, slots: tuple[int, ...]) -> None:
    """Overwrite the middle of records, as a torn write does."""
    content = bytearray(path.read_bytes())
    for slot in slots:
        content[slot * BLOCK + 40 : slot * BLOCK + 60] = os.urandom(20)
    path.write_bytes(content)


def test_a_torn_record_leaves_the_other_one(cluster: Cluster) -> None:
    fill(cluster)
    kill_all(cluster)
    path, whole = cluster.data / FILE_NAME, (cluster.data / FILE_NAME).read_bytes()
    heads = set()
    for slot in (0, 1):
        path.write_bytes(whole)
        damage(path, (slot,))
        left = read_head(cluster.data)
        assert left
        heads.add(left.head.position)
        commandbus_starts(cluster)
        mended = read_head(cluster.data)
        assert mended
        assert mended.head.position == USERS + 1
    assert max(heads) == USERS + 1
    assert len(heads) == 2


@pytest.mark.parametrize("how", ["both records", "empty", "another file"])
def test_a_log_head_of_which_nothing_is_left_is_refused_and_can_be_moved_away(cluster: Cluster, how: str) -> None:
    fill(cluster)
    stop_all(cluster)
    path = cluster.data / FILE_NAME
    if how == "both records":
        damage(path, (0, 1))
    else:
        path.write_bytes(b"" if how == "empty" else b"my diary\n" * 2000)
    for name in ("commandbus", "projector"):
        assert "Move it away if it is damaged" in refused(cluster, name)
    with pytest.raises(LogDamaged, match="Move it away if it is damaged"):
        verify(cluster.data, load("users:app"))
    path.unlink()
    commandbus_starts(cluster)
    made = read_head(cluster.data)
    assert made
    assert made.head.position == USERS + 1


def test_a_folder_without_log_head_is_taken_over_where_its_read_model_agrees(cluster: Cluster) -> None:
    # given a folder of an earlier version
    fill(cluster)
    stop_all(cluster)
    (cluster.data / FILE_NAME).unlink()
    assert "The folder has no log.head" in str(verify(cluster.data, load("users:app")))
    # when the projector starts first, it follows the log and makes no log.head
    [projector] = cluster.start("projector")
    until(lambda: "is at position" in projector.stderr_text)
    assert cluster.stop("projector") == EXIT_OK
    assert not (cluster.data / FILE_NAME).exists()
    # and commandbus makes it
    commandbus_starts(cluster)
    proof = verify(cluster.data, load("users:app"))
    assert proof.acknowledged == proof.position == USERS + 1
    assert f"log.head has position {USERS + 1} as acknowledged" in str(proof)
    assert stat.S_IMODE((cluster.data / FILE_NAME).stat().st_mode) == 0o600


def test_a_fresh_start_that_is_killed_anywhere_is_followed_by_one_that_works(cluster: Cluster) -> None:
    usual = cluster.commands["commandbus"]
    for point in FIRST_START:
        shutil.rmtree(cluster.data, ignore_errors=True)
        cluster.commands["commandbus"] = launched("commandbus", "/", "kill", *point)
        [commandbus] = cluster.start("commandbus")
        assert commandbus.wait() == -signal.SIGKILL, point
        cluster.commands["commandbus"] = usual
        commandbus_starts(cluster)
        assert verify(cluster.data, load("users:app")).acknowledged == 1


def test_commandbus_killed_anywhere_around_its_record_starts_again_and_lost_nothing(cluster: Cluster) -> None:
    usual = cluster.commands["commandbus"]
    cluster.start("gateway")
    with RawClient(cluster.front) as client:
        for number, point in enumerate(A_COMMAND):
            arm, key = cluster.folder / f"arm{number}", f"key{number}"
            cluster.commands["commandbus"] = launched("commandbus", arm, "kill", *point)
            [commandbus] = cluster.start("commandbus")
            assert client.ask(create("before"))[0]["success"]
            arm.touch()
            client.send(create("Ada", key, key=key))
            assert commandbus.wait() == -signal.SIGKILL, point
            recorded = read_head(cluster.data)
            cluster.commands["commandbus"] = usual
            [commandbus] = cluster.start("commandbus")
            until(lambda commandbus=commandbus: "Writing the log" in commandbus.stderr_text)  # type: ignore[misc]
            [reply] = client.wait_for([key])
            assert reply["body"]["success"] is True, point
            assert recorded
            assert recorded.head.position <= reply["position"], point
            assert cluster.stop("commandbus") == EXIT_OK
            proof = verify(cluster.data, load("users:app"))
            assert proof.acknowledged == proof.position, point
            assert [one.command_id for one in read_log(cluster.data).events].count(key) == 1, point


def test_two_records_are_never_at_risk_at_once(folder: Path) -> None:
    # given records that are written, synced now and then, and opened again after a kill, which leaves them unsynced
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    path, identity = folder / FILE_NAME, Identity("log", "life")
    write_head(folder, Acknowledged(identity, 1, Head(1, b"h" * 16), b"c" * 16))
    durable, number, synced = path.read_bytes(), 1, 1
    for _ in range(30):
        opened = HeadFile(folder, Acknowledged(identity, number, Head(number, b"h" * 16), b"c" * 16))
        durable, synced = path.read_bytes(), number
        for _ in range(chance.randrange(5)):
            number += 1
            opened.write(number, Head(number, b"h" * 16), b"c" * 16)
            if chance.random() < 0.3:
                opened.sync()
                durable, synced = path.read_bytes(), number
            # when whatever was written since the last sync is lost or torn, then the synced record is read
            now = path.read_bytes()
            for torn in ((), (0,), (1,), (0, 1)):
                left = bytearray(durable)
                for slot in torn:
                    block = slice(slot * BLOCK, (slot + 1) * BLOCK)
                    if now[block] != durable[block]:
                        left[block] = os.urandom(BLOCK)
                path.write_bytes(left)
                found = read_head(folder)
                assert found
                assert found.commit >= synced
            path.write_bytes(now)
