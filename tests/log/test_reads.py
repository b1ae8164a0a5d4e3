"""How many entries of the index a decision reads: counted, in steps of SQLite's virtual machine."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from dualbus import App
from dualbus.commandbus.history import History
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.contract import AppendCondition, Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing.log_contract import GENESIS, decided, event
from dualbus.worker.interrupt import Interrupt
from tests.test_histories import COURSE, STUDENT, SUBSCRIBED, Seen, app, subscribed

MILLION = 1_000_000
OTHERS = (
    "WITH RECURSIVE other(position) AS (VALUES (1000) UNION ALL SELECT position + 1 FROM other "
    "WHERE position < 1000 + :many) INSERT INTO tags SELECT :tag, :type, position FROM other"
)


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(folder, lambda secret: GENESIS)) as made:
        yield made


class Steps:
    """Counts the steps of SQLite's virtual machine in all statements: a few for each entry that is read."""

    def __init__(self, log: SqliteLog) -> None:
        self._db = log._db
        self.count = 0

    def _profile(self, statement: dict[str, Any]) -> None:
        self.count += statement["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def __enter__(self) -> "Steps":
        self._db.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profile)
        return self

    def __exit__(self, *error: object) -> None:
        self._db.trace_v2(0, None)


def steps_of_a_decision(log: SqliteLog) -> int:
    """Fold the subscriptions of a course and of a student, and append a decision under these conditions."""
    history = History(App(events=app.events), log, StateCache(), GENESIS.time, lambda: "id", Interrupt())
    with Steps(log) as steps:
        assert len(history.fold(Seen, (COURSE,), SUBSCRIBED).events) == 3
        assert len(history.events((COURSE, STUDENT), SUBSCRIBED)) == 1
        before = log.head().position
        conditions = [AppendCondition((COURSE,), SUBSCRIBED, before - 1), AppendCondition((STUDENT,), SUBSCRIBED, 1)]
        appended = log.append([Decision(f"c-{before}", GENESIS.time, [NewEvent("Other", "{}", ())], (), conditions)])
    assert appended.decisions == 0  # both conditions are evaluated: a subscription has come later
    return steps.count


@pytest.mark.slow
@pytest.mark.parametrize("type_", ["Another", "Zzz"], ids=["before the type", "after the type"])
def test_a_decision_reads_no_event_of_another_type_of_its_tag(log: SqliteLog, type_: str) -> None:
    log.append([decided("c1", subscribed("s"), subscribed("t"), subscribed("u"), event("other"))])
    log.append([decided("c2", NewEvent("Subscribed", subscribed("s", "d").data, (STUDENT, "course:d")))])
    few = steps_of_a_decision(log)

    for tag in (COURSE, STUDENT):
        log._db.execute(OTHERS, {"many": MILLION, "tag": tag, "type": type_})
    many = steps_of_a_decision(log)

    assert many == few < 1000


def test_the_steps_count_the_events_that_are_read(log: SqliteLog) -> None:
    log.append([decided("c1", *[subscribed(str(number)) for number in range(1000)])])
    with Steps(log) as steps:
        assert len(log.history([COURSE], SUBSCRIBED)) == 1000
    assert steps.count > 1000
