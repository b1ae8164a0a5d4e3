"""The disk under the log fails, is slow, or is full: what is answered is true, and queries go on."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dualbus import Client
from dualbus.testing import Cluster, until
from tests.faults.judge import judge, read_log
from tests.faults.launch import launched
from tests.faults.load import Load
from tests.history import History
from tests.raw import SECONDS, RawClient, create, query
from tests.reactions.delivery import lines, tried
from tests.reactions.effects import Send


def test_a_commit_that_log_head_cannot_witness_is_answered_indefinite_and_happens_once(
    cluster: Cluster, folder: Path
) -> None:
    usual = cluster.commands["commandbus"]
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "head", "fail")
    cluster.start("gateway", "commandbus")
    with RawClient(cluster.front) as client:
        client.ask(create("Ada", key="first"))
        (folder / "arm").touch()
        assert client.ask(create("Bob", key="second"))[0]["code"] == 13
        failed = cluster.process("commandbus")
        assert failed.wait() == 74
        assert "log.head could not be written" in failed.stderr_text
        cluster.commands["commandbus"] = usual
        cluster.start("commandbus")
        assert client.ask(create("Bob", key="second"))[0]["success"]
    assert [event.command_id for event in read_log(cluster.data).events] == ["genesis", "first", "second"]


def test_an_fsync_that_fails_is_answered_indefinite_and_each_key_comes_to_one_effect(
    cluster: Cluster, folder: Path
) -> None:
    # Given a cluster on a disk that is about to fail
    usual = cluster.commands["commandbus"]
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "sync", "fail")
    cluster.start()
    with RawClient(cluster.front) as client:
        client.ask(create("Ada", key="first"))
        (folder / "arm").touch()

        # When the fsync of a commit fails
        names = [f"n{number}" for number in range(20)]
        answers = client.ask(*(create(name, key=name) for name in names))

        # Then nobody is told that it happened or that it did not, and commandbus ends with a reason
        unknown = [name for name, answer in zip(names, answers, strict=True) if answer.get("code") == 13]
        told = [answer for answer in answers if answer.get("code") != 13]
        assert unknown
        assert all(answer["success"] for answer in told)  # by a commit before it
        failed = cluster.process("commandbus")
        assert failed.wait() == 74
        assert "The log could not be written" in failed.stderr_text

        # And with a disk that works, the same keys come to one effect each
        cluster.commands["commandbus"] = usual
        cluster.start("commandbus")
        assert all(answer["success"] for answer in client.ask(*(create(name, key=name) for name in names)))
    assert sorted(event.command_id for event in read_log(cluster.data).events) == sorted(["genesis", "first", *names])


def test_an_fsync_that_fails_under_load_loses_and_doubles_nothing(cluster: Cluster, folder: Path) -> None:
    usual = cluster.commands["commandbus"]
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "sync", "fail")
    cluster.start()
    with Load(cluster.front, random.randrange(1 << 32)) as load:
        load.more(50)
        (folder / "arm").touch()
        assert cluster.process("commandbus").wait() == 74
        cluster.commands["commandbus"] = usual
        cluster.start("commandbus")
        load.more(50)
    assert load.unknown == set()
    assert judge(load.history, cluster.data) == []


def test_no_reply_comes_before_its_fsync(cluster: Cluster, folder: Path) -> None:
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "sync", "held")
    cluster.start()
    with RawClient(cluster.front) as client:
        client.ask(create("Ada"))
        (folder / "arm").touch()
        client.send(create("Bob", "bob"))
        until((folder / "HELD").exists)

        assert client.receive(0.2) == []
        assert len(read_log(cluster.data).events) == 2

        (folder / "arm").unlink()
        [bob] = client.wait_for(["bob"])
        assert bob["body"]["success"] is True


def test_while_fsyncs_are_slow_queries_go_on_and_what_cannot_be_done_in_time_is_refused(
    cluster: Cluster, folder: Path
) -> None:
    # Given a log whose every fsync takes half a second
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "sync", "slow")
    cluster.start()
    with RawClient(cluster.front) as writer, RawClient(cluster.front) as reader:
        writer.ask(create("Ada"))
        (folder / "arm").touch()

        # When more is sent than can be written before its deadline
        waves = itertools.count()

        def refused() -> list[str]:
            wave = next(waves)
            batch = [{**create(f"{wave}.{number}", f"{wave}.{number}"), "timeout_ms": 600} for number in range(2000)]
            writer.send(*batch)

            # Then queries are answered before the commands are
            for _ in range(20):
                [found] = reader.ask(query("GetUser", user_id="user-123"))
                assert found["data"]["id"] == "user-123"
            writer.receive()
            assert any(one["body"]["msg_id"] not in writer.replies for one in batch)
            writer.wait_for(one["body"]["msg_id"] for one in batch)
            return answered(writer, lambda body: body.get("code") == 11)

        # And some commands are refused, which are not in the log; what is acknowledged is
        until(refused, SECONDS)
        (folder / "arm").unlink()
        writer.ask(create("Eve"))
        written = [json.loads(event.data)["name"] for event in read_log(cluster.data).events]
        assert len(written) == len(set(written))
        assert not set(answered(writer, lambda body: body.get("code") == 11)) & set(written)
        assert set(answered(writer, lambda body: body.get("success"))) <= set(written)


def answered(client: RawClient, how: Callable[[dict[str, Any]], Any]) -> list[str]:
    return [id_ for id_, reply in client.replies.items() if isinstance(id_, str) and how(reply["body"])]


class Disk(NamedTuple):
    """A cluster on a disk that can be filled."""

    cluster: Cluster
    fill: Callable[[], None]
    free: Callable[[], None]


@pytest.fixture
def injected(cluster: Cluster, folder: Path) -> Disk:
    """Where the log's writes are told that there is no space."""
    arm = folder / "arm"
    cluster.commands["commandbus"] = launched("commandbus", arm, "write", "full")
    return Disk(cluster, arm.touch, arm.unlink)


@pytest.fixture
def small(cluster: Cluster) -> Iterator[Disk]:
    """Where there is none, for log and read model; needs the right to mount, which CI may not have."""
    cluster.data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(cluster.data)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("This user may not mount a small disk: the injected one must do.")
    ballast = cluster.data / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    yield Disk(cluster, fill, ballast.unlink)
    for process in cluster.processes:
        process.end()
    subprocess.run(["umount", "--lazy", str(cluster.data)], check=True)


@pytest.mark.parametrize("kind", ["injected", "small"])
def test_a_full_disk_is_refused_definitely_and_with_space_again_writing_resumes(
    kind: str, request: pytest.FixtureRequest
) -> None:
    disk: Disk = request.getfixturevalue(kind)
    disk.cluster.start()
    with Load(disk.cluster.front, random.randrange(1 << 32)) as load, RawClient(disk.cluster.front) as client:
        load.more(100)

        # When the disk is full
        disk.fill()
        until(lambda: any("free some space" in refusal.get("text", "") for refusal in load.refusals))

        # Then commands are refused, definitely, and queries are answered
        assert {refusal["code"] for refusal in load.refusals} == {11}
        [found] = client.ask(query("GetUser", user_id="user-123"))
        assert found["data"]["id"] == "user-123"

        # And with space again, the same processes go on
        disk.free()
        load.more(100)
        assert all(process.running for process in disk.cluster.processes)
    assert load.unknown == set()
    assert judge(load.history, disk.cluster.data) == []


def test_a_reactor_waits_for_space_and_continues(small: Disk, tmp_path: Path) -> None:
    # Given an effect under way
    small.cluster.environ |= {"DUALBUS_APP": "tests.reactions.effects:app", "OFFICE": str(tmp_path)}
    small.cluster.start("gateway", "commandbus", "reactor")
    reactor = small.cluster.process("reactor")
    (tmp_path / "hold-a-0").touch()
    with Client(small.cluster.front, timeout=1) as client:
        client.command(Send(parcel="a"))
        until(lambda: tried(tmp_path, "a0") == 1)

        # When its failure cannot be stored
        small.fill()
        (tmp_path / "fail-a-0").touch()
        (tmp_path / "hold-a-0").unlink()
        until(lambda: "The reactions wait" in reactor.stderr_text)

        # Then the next try waits for space
        (tmp_path / "fail-a-0").unlink()
        small.free()
        until(lambda: "The reactions continue" in reactor.stderr_text)
        client.command(Send(parcel="b"))
        until(lambda: sorted(line[1] for line in lines(tmp_path, "done")) == ["a0", "b0"])
    assert [tried(tmp_path, name) for name in ("a0", "b0")] == [2, 1]
    assert reactor.running


SERVE = """
import sys
from pathlib import Path
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.runtime.process import run

def serve(settings, stop):
    log = SqliteLogReader(settings.data)
    with open(settings.data / "log.db", "r+b") as file:  # behind the pages that the start has read
        file.seek(1 << 16)
        file.write(bytes(1 << 20))
    log.read(0, 100_000)

sys.exit(run("reader", serve))
"""


def test_a_log_that_becomes_unreadable_ends_a_process_with_a_sentence(folder: Path) -> None:
    with closing(History(folder)) as history:
        history.commit(20_000)
    environ = os.environ | {"DUALBUS_DATA": str(folder)}
    done = subprocess.run([sys.executable, "-c", SERVE], env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 74, done.stderr
    assert "A database cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
