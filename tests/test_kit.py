"""The test kit: what an author's test can say, and what it is told when it is wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import pytest

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Rejected, Tables, Tag
from dualbus.application.messages import Invalid
from dualbus.protocol.codes import WireError
from dualbus.readmodel.file import NotAllowed
from dualbus.testing import answer, decide, project
from dualbus.testing.differences import differences
from tests.conftest import ROOT
from users import app as users
from users.decisions import create_user, rename_user
from users.messages import CreateUser, GetUser, ListUsers, RenameUser, UserCreated, UserRenamed

ADA = UserCreated(id="u-1", name="Ada", email="ada@example.org")
BOB = UserCreated(id="u-2", name="Bob", email="bob@example.org")


def test_a_decision_gives_events_with_the_ids_of_the_test() -> None:
    when = CreateUser(name="Ada", email="ada@example.org")
    assert decide(create_user, when=when, ids=["u-1"]) == [ADA]
    assert decide(create_user, when=when) == [UserCreated(id="id-1", name="Ada", email="ada@example.org")]
    with pytest.raises(AssertionError, match="requested more ids"):
        decide(create_user, when=when, ids=[])


def test_a_decision_reads_the_events_given_of_its_tag_and_no_others() -> None:
    when = RenameUser(user_id="u-1", name="Countess")
    assert decide(rename_user, given=[BOB, ADA], when=when) == [UserRenamed(id="u-1", name="Countess")]
    with pytest.raises(Rejected, match="User does not exist"):
        decide(rename_user, given=[BOB], when=when)


class Book(Command):
    first: date
    last: date

    def problems(self) -> Iterator[str]:
        if self.last < self.first:
            yield "Last must not be before first"


class Booked(Event):
    room: Annotated[str, Tag("room")]
    first: date
    at: str


def test_time_is_the_tests_and_rules_across_fields_hold() -> None:
    def book(command: Book, past: Past) -> list[Event]:
        return [Booked(room="r", first=command.first, at=past.now())]

    monday, tuesday = date(2026, 1, 5), date(2026, 1, 6)
    booked = decide(book, when=Book(first=monday, last=tuesday), now="2026-01-01T08:00:00.000000Z")
    assert booked == [Booked(room="r", first=monday, at="2026-01-01T08:00:00.000000Z")]
    with pytest.raises(Invalid, match="Last must not be before first"):
        decide(book, when=Book(first=tuesday, last=monday))


def test_a_decision_that_a_cluster_would_not_take_fails_in_its_test() -> None:
    class Counted(Event):
        number: int

    class Count(Command):
        pass

    def too_large(command: Count, past: Past) -> list[Event]:
        return [Counted(number=2**63)]

    def no_event(command: Count, past: Past) -> list[Any]:
        return [{"number": 1}]

    def two_tags(command: Count, past: Past) -> None:
        past.events(room="r", user="u")

    def misspelt(command: Count, past: Past) -> None:
        past.events(rooom="r")

    def endless(command: Count, past: Past) -> Iterator[Event]:
        while True:
            yield Counted(number=1)

    with pytest.raises(WireError, match="does not fit in 64 bits"):
        decide(too_large, when=Count())
    with pytest.raises(AssertionError, match="is not an event"):
        decide(no_event, when=Count())
    with pytest.raises(TypeError, match="one tag at a time"):
        decide(two_tags, when=Count())
    with pytest.raises(TypeError, match=r"Unknown tag 'rooom'. Known tags: .*room"):
        decide(misspelt, when=Count())
    with pytest.raises(WireError, match="at most 1000 events"):
        decide(endless, when=Count())


def test_an_event_that_changes_on_its_way_through_the_log_is_told() -> None:
    class Named(Event):
        name: str

        def model_post_init(self, context: Any) -> None:
            object.__setattr__(self, "name", self.name + "!")

    with pytest.raises(AssertionError, match=r"comes back from the log as Named\(name='a!!'\)"):
        project(users, given=[Named(name="a")])


def test_folding_gives_the_state_after_the_events() -> None:
    class Rooms:
        def __init__(self, dates: tuple[date, ...] = ()) -> None:
            self.dates = dates

        def apply(self, event: Event) -> Self:
            return type(self)((*self.dates, event.first)) if isinstance(event, Booked) else self

    seen: list[Rooms] = []

    def book(command: Book, past: Past) -> None:
        seen.append(past.fold(Rooms, room="r"))

    given = [Booked(room=room, first=date(2026, 1, day), at="") for room, day in (("r", 1), ("s", 2), ("r", 3))]
    decide(book, given=given, when=Book(first=date(2026, 1, 1), last=date(2026, 1, 1)))
    assert seen[0].dates == (date(2026, 1, 1), date(2026, 1, 3))


def test_a_projection_gives_rows() -> None:
    given = [ADA, BOB, UserRenamed(id="u-1", name="Countess")]
    rows = [{"id": "u-1", "name": "Countess"}, {"id": "u-2", "name": "Bob"}]
    assert project(users, given=given).all("SELECT * FROM users ORDER BY id") == rows
    assert project(users.projections[0], given=given).all("SELECT * FROM users ORDER BY id") == rows


def test_a_query_is_answered_from_the_events_given() -> None:
    assert answer(users, given=[ADA], when=GetUser(user_id="u-1")) == {"id": "u-1", "name": "Ada"}
    assert answer(users, given=[ADA], when=GetUser(user_id="u-2")) is None
    assert answer(users, given=[BOB, ADA], when=ListUsers(limit=1)) == [{"id": "u-1", "name": "Ada"}]


class Peek(Query):
    pass


UPSERT = "INSERT INTO seen VALUES (1) ON CONFLICT DO NOTHING"


def _insert(event: Booked, tables: Tables) -> None:
    tables.execute(UPSERT)


def test_a_query_that_would_write_is_stopped_also_with_a_statement_of_a_projection() -> None:
    def peek(query: Peek, tables: ReadOnlyTables) -> Any:
        return tables.all(UPSERT)

    seen = Projection("seen", version=1, tables="CREATE TABLE seen (x INTEGER PRIMARY KEY)", on={Booked: _insert})
    app = App(commands={}, projections=[seen], queries={Peek: peek})
    with pytest.raises(NotAllowed):
        answer(app, given=[Booked(room="r", first=date(2026, 1, 1), at="")], when=Peek())


def test_an_answer_is_what_comes_through_the_wire() -> None:
    def peek(query: Peek, tables: ReadOnlyTables) -> Any:
        return {"SELECT x'00' AS x"}

    def pair(query: Peek, tables: ReadOnlyTables) -> Any:
        return (1, 2)

    assert answer(App(commands={}, projections=[], queries={Peek: pair}), when=Peek()) == [1, 2]
    app = App(commands={}, projections=[], queries={Peek: peek})
    with pytest.raises(WireError, match="set has no place"):
        answer(app, when=Peek())
    with pytest.raises(AssertionError, match="GetUser is not among the queries"):
        answer(app, when=GetUser(user_id="u-1"))


def test_events_that_differ_are_shown_field_by_field() -> None:
    left = [ADA, UserRenamed(id="u-1", name="Countess")]
    right = [ADA, UserRenamed(id="u-1", name="Baroness"), BOB]
    assert differences(left, right) == [
        "the messages differ (left != right)",
        "1. UserCreated: the same",
        "2. UserRenamed:",
        "   name: 'Countess' != 'Baroness'",
        "3. only on the right: UserCreated(id='u-2', name='Bob', email='bob@example.org')",
    ]
    assert differences([ADA], [UserRenamed(id="u-1", name="Ada")]) == [
        "the messages differ (left != right)",
        "1. UserCreated != UserRenamed",
        "   left:  UserCreated(id='u-1', name='Ada', email='ada@example.org')",
        "   right: UserRenamed(id='u-1', name='Ada')",
    ]
    assert differences([1], [2]) is None


def test_pytest_shows_how_events_differ_and_has_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from tests.test_kit import ADA, BOB\n"
        "def test_it(dualbus_app):\n"
        "    assert dualbus_app == 'my:app'\n"
        "    assert [ADA] == [BOB]\n"
    )
    environ = os.environ | {"DUALBUS_APP": "my:app", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "1. UserCreated:" in done.stdout
    assert "name: 'Ada' != 'Bob'" in done.stdout
