"""The projector is killed at every point around its transaction: rows and checkpoint always agree."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.application.event_json import to_text
from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.readmodel.file import file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.testing import Cluster, until
from tests.faults.judge import judge
from tests.faults.launch import launched
from users import app
from users.messages import UserCreated

OWN = "dualbus.readmodel.writer:ReadModelWriter.execute_internal"  # PRAGMA, SELECT, BEGIN, UPDATE, COMMIT, …
WHILE_BUILDING = [
    ("before", "dualbus.readmodel.builder:create", 1),
    ("after", "dualbus.readmodel.builder:create", 1),
    *[("before", OWN, number) for number in range(1, 8)],
    ("after", "dualbus.readmodel.applier:Applier.apply", 1),
    ("after", "dualbus.readmodel.applier:Applier.apply", 3),
    ("before", "pathlib:Path.rename", 1),
    ("after", "pathlib:Path.rename", 1),
    ("after", "dualbus.readmodel.builder:sync_folder", 1),
]
WHILE_COPYING = [
    ("before", "dualbus.readmodel.copying:_replace_changed", 1),
    ("after", "dualbus.readmodel.copying:_replace_changed", 1),
    ("before", "dualbus.readmodel.builder:remove_others", 1),
    ("after", "dualbus.readmodel.builder:remove_others", 1),
]
WHILE_FOLLOWING = [
    *[("before", OWN, number) for number in range(1, 6)],
    ("after", "dualbus.readmodel.applier:Applier.apply", 1),
    ("after", "dualbus.readmodel.applier:Applier.apply", 3),
    ("after", OWN, 5),
    ("before", "dualbus.projector.node:Projector._announce", 1),
    ("before", "dualbus.projector.node:Projector._announce", 2),
]


class Log:
    """A log that this test writes, in the place of commandbus."""

    def __init__(self, folder: Path) -> None:
        self._log = SqliteLog(folder, lambda secret: self._created(1))
        self.add()
        self.close = self._log.close

    def add(self) -> None:
        """Append three more events."""
        self._log.append([self._created(self.position + number) for number in (1, 2, 3)])

    @property
    def position(self) -> int:
        return self._log.head().position

    def _created(self, number: int) -> Decision:
        event = UserCreated(id=f"u-{number}", name=f"n-{number}", email="p@example.com")
        return Decision(f"k-{number}", "2026-01-01", [NewEvent("UserCreated", to_text(event), ())])


@pytest.fixture
def log(cluster: Cluster) -> Iterator[Log]:
    made = Log(cluster.data)
    yield made
    made.close()


def run_until_killed(cluster: Cluster, when: str, where: str, number: int) -> None:
    cluster.commands["projector"] = launched("projector", "/", "kill", when, where, number)
    [projector] = cluster.start("projector")
    assert projector.wait() == -signal.SIGKILL, f"{when} {where} {number}: {projector.stderr_text}"


def projected(cluster: Cluster) -> int:
    path = cluster.data / file_name(app.projections)
    if not path.exists():
        return 0
    reader = ReadModelReader(path)
    position = reader.checkpoint().position
    reader.close()
    return position


def test_killed_while_it_builds_a_read_model_it_leaves_none_or_a_right_one(cluster: Cluster, log: Log) -> None:
    usual = cluster.commands["projector"]
    for point in WHILE_BUILDING:
        run_until_killed(cluster, *point)
        assert judge([], cluster.data) == [], point
        assert projected(cluster) in (0, log.position), point
        for left in cluster.data.glob(file_name(app.projections) + "*"):
            left.unlink()

    cluster.commands["projector"] = usual
    cluster.start("projector")
    until(lambda: projected(cluster) == log.position)
    assert judge([], cluster.data) == []


def test_killed_while_it_copies_tables_it_leaves_the_earlier_read_model_and_none_or_a_right_one(
    cluster: Cluster, log: Log
) -> None:
    usual = cluster.commands["projector"]
    # Given the read model of another version, with the same projection
    cluster.start("projector")
    until(lambda: projected(cluster) == log.position)
    cluster.stop("projector")
    path, earlier = cluster.data / file_name(app.projections), cluster.data / "read-earlier.db"
    path.rename(earlier)
    rows = earlier.read_bytes()

    for point in WHILE_COPYING:
        run_until_killed(cluster, *point)
        assert judge([], cluster.data) == [], point
        assert projected(cluster) in (0, log.position), point
        assert earlier.read_bytes() == rows, point
        path.unlink(missing_ok=True)

    cluster.commands["projector"] = usual
    [projector] = cluster.start("projector")
    until(lambda: projected(cluster) == log.position)
    assert "Copied the tables of users" in projector.stderr_text
    assert judge([], cluster.data) == []


def test_killed_while_it_follows_the_log_its_rows_are_those_of_its_checkpoint(cluster: Cluster, log: Log) -> None:
    usual = cluster.commands["projector"]
    cluster.start("projector")
    until(lambda: projected(cluster) == log.position)
    cluster.stop("projector")
    seen = set()
    for point in WHILE_FOLLOWING:
        log.add()
        before = projected(cluster)
        run_until_killed(cluster, *point)
        assert judge([], cluster.data) == [], point
        assert projected(cluster) in (before, log.position), point
        seen.add(projected(cluster) == log.position)
    assert seen == {True, False}  # some points are before the commit and some are after it

    cluster.commands["projector"] = usual
    cluster.start("projector")
    until(lambda: projected(cluster) == log.position)
    assert judge([], cluster.data) == []
