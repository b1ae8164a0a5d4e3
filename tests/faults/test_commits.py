"""What holds around a commit: nothing is told before it, its publication is made up for, no snapshot outlives it."""

import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgpack
import pytest
import zmq

from dualbus import Projection
from dualbus.application.event_json import to_text
from dualbus.commandbus.node import genesis
from dualbus.log.contract import NO_HASH, Decision, LogDamaged, NewEvent
from dualbus.log.identity import Identity
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.operations.verify import verify
from dualbus.readmodel.file import ReadModelBusyError, create
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.testing import Cluster, until
from tests.keyring import as_process
from tests.raw import SECONDS, RawClient
from tests.raw import create as create_user
from users import app
from users.messages import UserCreated


class Subscriber:
    """Hears what a commandbus publishes."""

    def __init__(self, address: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.subscribe(b"")
        as_process(self.socket)
        self.socket.connect(address)

    def positions(self, seconds: float) -> list[int]:
        """Wait so long for events, past repeated heads; return the positions of those that come first."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.socket.poll(round(left * 1000)):
                events = msgpack.unpackb(self.socket.recv())[1][0][2]
                if events:
                    return [event[0] for event in events]
        return []


@pytest.fixture
def subscriber(cluster: Cluster) -> Iterator[Subscriber]:
    """A subscriber of the cluster's commandbus, whenever that is started."""
    made = Subscriber(cluster.addresses["events"])
    yield made
    made.socket.close(0)
    made.context.term()


def test_an_idle_commandbus_repeats_its_head(cluster: Cluster, subscriber: Subscriber) -> None:
    # given a log that holds its first event, and nobody who commands
    cluster.start("commandbus")
    until(lambda: "Writing the log" in cluster.process("commandbus").stderr_text)
    # then a subscriber that comes at any time hears how far the log is
    for _ in range(3):
        assert subscriber.socket.poll(10_000)
        assert msgpack.unpackb(subscriber.socket.recv())[1][0][1:] == [1, [], True]


def test_nothing_is_published_and_nobody_is_answered_before_the_commit(
    cluster: Cluster, subscriber: Subscriber
) -> None:
    cluster.start("commandbus")
    assert subscriber.socket.poll(SECONDS * 1000)
    cluster.start("gateway")
    with RawClient(cluster.front) as client:
        client.ask(create_user("Ada"))
        assert subscriber.positions(SECONDS) == [2]
        # given a log that somebody else keeps from being written for a while
        other = apsw.Connection(str(cluster.data / FILE_NAME))
        other.execute("BEGIN IMMEDIATE")
        # when a command comes
        client.send(create_user("Bob", "bob"))
        # then nobody hears of it until it is committed
        assert subscriber.positions(0.4) == []
        assert client.receive() == []
        other.execute("ROLLBACK")
        other.close()
        [bob] = client.wait_for(["bob"])
        assert bob["body"]["success"] is True
        assert subscriber.positions(SECONDS) == [3]


THINGS = Projection("things", version=1, tables="CREATE TABLE things (name TEXT NOT NULL)", on=[])


def test_rows_whose_checkpoint_cannot_be_written_are_not_written_either(folder: Path) -> None:
    create(folder / "read.db", [THINGS], Identity("log", "life"))
    writer, reader = ReadModelWriter(folder / "read.db"), ReadModelReader(folder / "read.db")
    writer.begin()
    writer.execute("INSERT INTO things VALUES ('one')")
    # when what is to be the checkpoint is refused
    with pytest.raises(ReadModelBusyError):
        writer.commit(1, None)  # type: ignore[arg-type]
    # then the rows are not there
    assert reader.begin().position == 0
    assert reader.all("SELECT * FROM things") == []
    reader.end()
    reader.close()
    writer.close()


def test_a_snapshot_begins_with_its_checkpoint_and_ends_whatever_a_query_left_unread(folder: Path) -> None:
    create(folder / "read.db", [THINGS], Identity("log", "life"))
    writer, reader = ReadModelWriter(folder / "read.db"), ReadModelReader(folder / "read.db")

    def put(position: int) -> None:
        writer.begin()
        for _ in range(100):
            writer.execute("INSERT INTO things VALUES (?)", (str(position),))
        writer.commit(position, NO_HASH)

    put(1)
    for position in (1, 2, 3):
        # given a snapshot, when more is committed, then its rows are still those of its checkpoint
        assert reader.begin().position == position
        put(position + 1)
        assert reader.one("SELECT count(*) AS n FROM things") == {"n": 100 * position}
        # and when a query wanted only the first of many rows, the next snapshot is as new as any
        assert reader.one("SELECT name FROM things") == {"name": "1"}
        reader.end()
    reader.close()
    writer.close()


def made_at(folder: Path, names: list[str]) -> SqliteLog:
    """Make a log in which each of these keys has created a user of that name."""
    log = SqliteLog(folder, lambda secret: genesis(app, secret))
    for name in names:
        data = to_text(UserCreated(id=name, name=name, email="e@example.org"))
        log.append(
            [Decision(name, "2026-01-01T00:00:00.000000Z", [NewEvent("UserCreated", data, (f"user:{name}",))])]
        )
    return log


def test_what_a_command_came_to_is_known_when_the_log_is_opened_again(folder: Path) -> None:
    made_at(folder, ["Ada", "Bob"]).close()
    again = made_at(folder, [])
    found = again.outcomes(["Ada", "Bob", "Eve"])
    assert {id_: outcome.position for id_, outcome in found.items()} == {"Ada": 2, "Bob": 3}
    again.close()


def test_an_event_that_was_changed_after_its_commit_is_noticed(folder: Path) -> None:
    made_at(folder, ["Ada", "Bob", "Eve"]).close()
    assert verify(folder, app).position == 4
    # when somebody writes into the log what did not happen
    db = apsw.Connection(str(folder / FILE_NAME))
    db.execute("UPDATE events SET data = json_set(data, '$.name', 'Rob') WHERE position = 3")
    db.close()
    # then it is said, and where
    with pytest.raises(LogDamaged, match="Position 3"):
        verify(folder, app)
