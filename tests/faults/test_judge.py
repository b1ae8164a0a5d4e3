"""The judge finds what it is there to find, and nothing where there is nothing."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from dualbus.application.event_json import to_text
from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.readmodel.file import file_name
from tests.faults.apps.greeting import UserGreeted, is_greeted
from tests.faults.judge import Answer, Fault, Operation, judge, read_log
from tests.faults.judge_reactions import reactions
from tests.history import project
from users import app
from users.messages import UserCreated


def created(name: str, number: int = 1) -> Decision:
    event = UserCreated(id=f"{name}-{number}", name=name, email="j@example.com")
    return Decision(f"key-{name}-{number}", "2026-01-01", [NewEvent("UserCreated", to_text(event), ())])


class Case:
    """A log in which "a", "b" and "c" were created at 1, 2 and 3, its read model, and an honest history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog(folder, lambda secret: created("a"))
        self.log.append([created("b")])
        self.log.append([created("c"), Decision("key-refused", "2026-01-01", (), ["No."])])
        self.project()
        self.a, self.b, self.c = (
            Operation("s1", name, False, sent, sent + 1, Answer.ACKNOWLEDGED, number, shown(name))
            for number, (name, sent) in enumerate([("a", 10.0), ("b", 20.0), ("c", 30.0)], 1)
        )
        self.seen = Operation("s1", "b-1", True, 40.0, 41.0, Answer.ACKNOWLEDGED, 3, {"id": "b-1", "name": "b"})
        self.history = [self.a, self.b, self.c, self.seen]

    def project(self) -> None:
        project(self.folder, app, SqliteLogReader(self.folder))

    def tamper(self, name: str, sql: str) -> None:
        db = apsw.Connection(str(self.folder / name))
        db.execute(sql)
        db.close()

    @property
    def kinds(self) -> set[str]:
        return {fault.kind for fault in judge(self.history, self.folder)}


def shown(name: str) -> list[dict[str, object]]:
    return [{"type": "UserCreated", "payload": {"id": f"{name}-1", "name": name}}]


@pytest.fixture
def case(folder: Path) -> Iterator[Case]:
    made = Case(folder)
    yield made
    made.log.close()


def test_an_honest_history_has_no_fault(case: Case) -> None:
    assert judge(case.history, case.folder) == []


def test_an_indefinite_command_may_be_there_once_or_not(case: Case) -> None:
    case.b.answer = Answer.UNKNOWN
    case.history.append(Operation("s2", "nowhere", False, 1.0))
    assert judge(case.history, case.folder) == []


def test_a_lost_command_is_found(case: Case) -> None:
    case.history.append(Operation("s2", "d", False, 50.0, 51.0, Answer.ACKNOWLEDGED, 4, shown("d")))
    assert case.kinds == {"lost"}


def test_a_command_at_another_position_is_found(case: Case) -> None:
    case.b.position = 1
    assert case.kinds == {"lost"}


def test_a_command_that_is_not_what_was_answered_is_found(case: Case) -> None:
    case.b.shown = [{"type": "UserCreated", "payload": {"id": "other", "name": "b"}}]
    assert case.kinds == {"lost"}


def test_a_doubled_command_is_found_also_under_another_id(case: Case) -> None:
    case.log.append([created("b", 2)])
    assert case.kinds == {"doubled"}


def test_a_second_answer_that_differs_is_found(case: Case) -> None:
    case.history.append(Operation("s1", "b", False, 22.0, 23.0, Answer.ACKNOWLEDGED, 2, []))
    assert case.kinds == {"doubled"}


@pytest.mark.parametrize("code", [None, 1, 10, 11, 12, 14])
def test_a_refused_command_that_happened_is_found_whatever_its_refusal(case: Case, code: int | None) -> None:
    case.b.answer, case.b.code = Answer.REFUSED, code
    assert case.kinds == {"untrue"}


def test_a_command_that_was_refused_at_every_attempt_and_happened_is_found(case: Case) -> None:
    case.b.answer, case.b.code = Answer.REFUSED, 11
    case.history.append(Operation("s1", "b", False, 22.0, 23.0, Answer.REFUSED, code=11))
    assert case.kinds == {"untrue"}


def test_a_refused_command_may_be_sent_again_and_happen_then(case: Case) -> None:
    case.history.append(Operation("s2", "c", False, 15.0, 16.0, Answer.REFUSED, code=11))
    assert judge(case.history, case.folder) == []


def test_a_refused_command_that_was_sent_again_and_had_happened_before_is_found(case: Case) -> None:
    # "a" was refused, and sent again after "b" was acknowledged at 2; the answer then was 1.
    case.history.append(Operation("s2", "a", False, 10.0, 11.0, Answer.REFUSED, code=11))
    case.a.sent, case.a.answered = 25.0, 26.0
    assert case.kinds == {"untrue"}


def test_an_acknowledged_command_has_the_same_answer_when_it_is_sent_again(case: Case) -> None:
    case.history.append(Operation("s2", "b", False, 50.0, 51.0, Answer.ACKNOWLEDGED, 2, shown("b")))
    case.history.append(Operation("s2", "b", False, 52.0, 53.0, Answer.REFUSED, code=11))
    case.history.append(Operation("s2", "b", False, 54.0))
    assert judge(case.history, case.folder) == []


@pytest.mark.parametrize(("code", "kind"), [(14, "untrue"), (10, "untrue"), (12, "untrue"), (None, "doubled")])
def test_an_acknowledged_command_that_is_refused_when_it_is_sent_again_is_found(
    case: Case, code: int | None, kind: str
) -> None:
    case.history.append(Operation("s2", "b", False, 50.0, 51.0, Answer.REFUSED, code=code))
    assert case.kinds == {kind}


def test_a_command_that_was_refused_for_its_mistake_may_be_done_later(case: Case) -> None:
    case.history.append(Operation("s2", "c", False, 12.0, 13.0, Answer.REFUSED, code=14))
    assert judge(case.history, case.folder) == []


def test_a_command_that_was_refused_once_and_not_known_once_may_be_there(case: Case) -> None:
    case.b.answer = Answer.REFUSED
    case.history.append(Operation("s1", "b", False, 22.0))
    assert judge(case.history, case.folder) == []


def test_a_reordered_command_is_found(case: Case) -> None:
    case.a.sent, case.a.answered = 24.0, 25.0  # after "b" was acknowledged, and yet before it in the log
    assert case.kinds == {"reordered"}


def test_a_read_older_than_what_the_session_wrote_is_found(case: Case) -> None:
    case.seen.position = 2
    assert case.kinds == {"stale"}


def test_a_read_older_than_a_command_pipelined_before_it_is_found(case: Case) -> None:
    case.seen.position, case.seen.sent, case.c.sent, case.c.answered = 2, 40.0, 39.0, 60.0
    assert case.kinds == {"stale"}


def test_a_read_older_than_one_before_it_is_found(case: Case) -> None:
    case.history = [case.seen, Operation("s1", "x", True, 50.0, 51.0, Answer.ACKNOWLEDGED, 2, None)]
    assert case.kinds == {"stale"}


def test_another_session_may_be_behind(case: Case) -> None:
    case.history.append(Operation("s2", "c-1", True, 50.0, 51.0, Answer.ACKNOWLEDGED, 2, None))
    assert judge(case.history, case.folder) == []


def test_a_row_that_is_not_of_its_position_is_found(case: Case) -> None:
    case.seen.shown = {"id": "b-1", "name": "older"}
    assert case.kinds == {"stale"}


def test_an_answer_from_beyond_the_log_is_found(case: Case) -> None:
    case.seen.position = 4
    assert case.kinds == {"lost"}


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM users WHERE id = 'b-1'",
        "UPDATE users SET name = 'other' WHERE id = 'b-1'",
        "INSERT INTO users VALUES ('never', 'was')",
        "UPDATE dualbus_checkpoint SET position = 2, hash = (SELECT hash FROM events WHERE position = 2)",
    ],
)
def test_a_read_model_with_other_rows_is_found(case: Case, sql: str) -> None:
    case.tamper(file_name(app.projections), f"ATTACH '{case.folder / FILE_NAME}' AS log; {sql}")
    assert case.kinds == {"skipped"}


def test_a_read_model_that_knows_more_than_the_log_is_found(case: Case) -> None:
    case.tamper(file_name(app.projections), "UPDATE dualbus_checkpoint SET position = 4")
    assert case.kinds == {"lost"}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE events SET time = '2027-01-01' WHERE position = 2",
        "UPDATE outcomes SET errors = '[]' WHERE command_id = 'key-refused'",
        "INSERT INTO tags VALUES ('user:b-1', 'UserCreated', 2)",
        "DELETE FROM commits WHERE number = 3",
        "DELETE FROM outcomes WHERE number = 4",
    ],
)
def test_a_broken_chain_is_found(case: Case, sql: str) -> None:
    case.tamper(FILE_NAME, sql)
    assert case.kinds == {"broken"}


def test_a_hole_in_the_log_is_found(case: Case) -> None:
    case.tamper(FILE_NAME, "DELETE FROM events WHERE position = 2")
    assert "broken" in case.kinds
    assert "lost" in case.kinds


OTHER, GREETED = (
    next(name for name in map(str, range(100)) if is_greeted(f"{name}-1") == greeted) for greeted in (False, True)
)
GREETINGS = {"now": (GREETED, False, 1), "again": (GREETED, True, 2), "early": (GREETED, True, 0)}


@pytest.mark.parametrize(
    ("greetings", "kinds"),
    [
        (["now", "again"], []),
        (["again"], ["skipped"]),
        (["now"], ["skipped"]),
        (["now", "again", "now"], ["doubled"]),
        (["now", "again", "again"], ["doubled"]),
        (["now", "early"], ["untrue"]),
        (["now", "again", "nobody"], ["untrue"]),
    ],
)
def test_a_reaction_that_is_missing_doubled_or_early_is_found(
    folder: Path, greetings: list[str], kinds: list[str]
) -> None:
    log = SqliteLog(folder, lambda secret: created(OTHER))
    user = created(GREETED)
    log.append([Decision(user.command_id, "2026-01-01T12:00:00Z", user.events)])
    for number, name in enumerate(greetings):
        user_name, again, second = GREETINGS.get(name, ("nobody", False, 1))
        text = to_text(UserGreeted(user=f"{user_name}-1", again=again))
        time = f"2026-01-01T12:00:{second:02}Z"
        log.append([Decision(f"greeting/{number}", time, [NewEvent("UserGreeted", text, ())])])

    found: list[Fault] = list(reactions(read_log(folder)))

    assert [fault.kind for fault in found] == kinds
    log.close()
