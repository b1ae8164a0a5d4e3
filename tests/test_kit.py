"""The test kit: what an author's test can say, and what it is told when it is wrong."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

import pytest

from dualbus import (
    App,
    Client,
    Command,
    Event,
    Past,
    Problem,
    Projection,
    Query,
    ReadOnlyTables,
    Rejected,
    Tables,
    Tag,
)
from dualbus.application.messages import Invalid
from dualbus.application.tables import NotAllowed
from dualbus.protocol.codes import WireError
from dualbus.testing import Cluster, InProcess, answer, decide, problems, project
from dualbus.testing.differences import differences
from tests.conftest import ROOT
from users import app as users
from users.messages import USER, CreateUser, GetUser, ListUsers, RenameUser, UserCreated, UserRenamed

ADA = UserCreated(id="u-1", name="Ada", email="ada@example.org")
BOB = UserCreated(id="u-2", name="Bob", email="bob@example.org")


def test_a_decision_gives_events_with_the_ids_of_the_test() -> None:
    when = CreateUser(name="Ada", email="ada@example.org")
    assert decide(users, when=when, ids=["u-1"]) == [ADA]
    assert decide(users, when=when) == [UserCreated(id="id-1", name="Ada", email="ada@example.org")]
    with pytest.raises(AssertionError, match="requested more ids"):
        decide(users, when=when, ids=[])


def test_a_decision_reads_the_events_given_of_its_tag_and_no_others() -> None:
    when = RenameUser(user_id="u-1", name="Countess")
    assert decide(users, given=[ADA], when=when) == [UserRenamed(id="u-1", name="Countess")]
    with pytest.raises(Rejected, match="User does not exist"):
        decide(users, given=[BOB], when=when)


class Book(Command):
    first: date
    last: date

    def problems(self) -> Iterator[str]:
        if self.last < self.first:
            yield "Last must not be before first"


ROOM = Tag("room")


class Booked(Event):
    room: Annotated[str, ROOM]
    first: date
    at: datetime


def book(command: Book, past: Past) -> Iterator[Booked]:
    yield Booked(room="r", first=command.first, at=past.now())


def test_time_is_the_tests_and_rules_across_fields_hold() -> None:
    monday, tuesday = date(2026, 1, 5), date(2026, 1, 6)
    now = datetime(2026, 1, 1, 8, tzinfo=UTC)
    booked = decide(App(commands=[book]), when=Book(first=monday, last=tuesday), now=now)
    assert booked == [Booked(room="r", first=monday, at=now)]
    with pytest.raises(Invalid, match="Last must not be before first"):
        decide(App(commands=[book]), when=Book(first=tuesday, last=monday))


def test_the_problems_of_a_message_are_those_of_a_client() -> None:
    assert problems(Book, first="2026-01-05", more=1) == [
        Problem("Last is required", "last", "required"),
        Problem("More is not a field of Book", "more", "unknown_field"),
    ]
    assert problems(Book, {"first": "2026-01-06", "last": "2026-01-05"}) == [
        Problem("Last must not be before first", None, "invalid")
    ]
    assert problems(Book, first="2026-01-05", last="2026-01-06") == []


class Count(Command):
    pass


class Counted(Event):
    number: int


def too_large(command: Count, past: Past) -> list[Counted]:
    return [Counted(number=2**63)]


def no_event(command: Count, past: Past) -> list[Counted]:
    return [{"number": 1}]  # type: ignore[list-item]


def another_event(command: Count, past: Past) -> Iterator[Counted]:
    yield Booked(room="r", first=date(2026, 1, 1), at=past.now())  # type: ignore[misc]


def one_event(command: Count, past: Past) -> Iterator[Counted]:
    return Counted(number=1)  # type: ignore[return-value]


def no_tag(command: Count, past: Past) -> None:
    past.events("room")  # type: ignore[call-overload]


def nothing(command: Count, past: Past) -> None:
    past.events()


def misspelt(command: Count, past: Past) -> None:
    past.events(Tag("rooom")("r"))


def foreign(command: Count, past: Past) -> None:
    past.events(ROOM("r"), of=UserCreated)


def endless(command: Count, past: Past) -> Iterator[Counted]:
    while True:
        yield Counted(number=1)


@pytest.mark.parametrize(
    ("decision", "error", "sentence"),
    [
        (too_large, AssertionError, "does not fit in 64 bits"),
        (no_event, WireError, "no_event returned dict, which its return annotation does not name"),
        (another_event, WireError, "another_event returned Booked, which its return annotation does not name"),
        (one_event, WireError, "one_event returned Counted: yield the events"),
        (no_tag, TypeError, "A str is not a tag with its value, such as USER"),
        (nothing, TypeError, "Read the events of a tag: "),
        (misspelt, TypeError, r"Unknown tag 'rooom'. Known tags: room"),
        (foreign, TypeError, r"The application has no event UserCreated: add it to App"),
        (endless, WireError, "endless returned more than 1000 events"),
    ],
)
def test_a_decision_that_a_cluster_would_not_take_fails_in_its_test(
    decision: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        decide(App(commands=[decision], events=[Booked]), when=Count())


@dataclass(frozen=True)
class Names:
    names: list[str]

    def apply(self, event: UserRenamed) -> Self:
        return replace(self, names=[*self.names, event.name])


def rename_after_append(command: RenameUser, past: Past) -> Iterator[UserRenamed]:
    past.fold(Names(["Ada"]), USER(command.user_id)).names.append(command.name)
    raise Rejected("No")
    yield


def test_a_decision_that_changes_a_folded_state_fails_in_its_test() -> None:
    """A cluster caches the state: later decisions would read the change, also after a refusal."""
    with pytest.raises(AssertionError, match="rename_after_append has changed the state Names"):
        decide(App(commands=[rename_after_append]), when=RenameUser(user_id="u-1", name="Eve"))


def test_an_event_given_that_the_decision_has_not_read_fails_the_test() -> None:
    when = RenameUser(user_id="u-1", name="Countess")
    with pytest.raises(AssertionError, match=r"given\[1\], UserCreated\(id='u-2'.*rename_user has read"):
        decide(users, given=[ADA, BOB], when=when)
    with pytest.raises(AssertionError, match="Count is not among the commands"):
        decide(users, when=Count())


def test_an_event_that_changes_on_its_way_through_the_log_is_told() -> None:
    class Named(Event):
        name: str

        def model_post_init(self, context: Any) -> None:
            object.__setattr__(self, "name", self.name + "!")

    with pytest.raises(
        AssertionError,
        match=r"Named\(name='a!'\) cannot be stored: Named is not the same",
    ):
        project(users, given=[Named(name="a")])


@dataclass(frozen=True)
class Room:
    name: str = "?"
    dates: tuple[date, ...] = ()

    def apply(self, event: Booked) -> Self:
        return replace(self, dates=(*self.dates, event.first))


seen: list[Any] = []


def fold(command: Count, past: Past) -> None:
    seen[:] = [past.fold(Room, ROOM("r")), past.fold(Room("s"), ROOM("s")), past.events(ROOM("r"), of=Booked)]


def test_folding_gives_the_state_after_the_events_of_its_types() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    given = [Booked(room=room, first=date(2026, 1, day), at=now) for room, day in (("r", 1), ("s", 2), ("r", 3))]
    decide(App(commands=[fold], events=[Booked]), given=given, when=Count())
    first, second, third = (one.first for one in given)
    assert seen == [Room(dates=(first, third)), Room("s", (second,)), [given[0], given[2]]]


class RoomEvent(Event):
    room: Annotated[str, ROOM]


class Opened(RoomEvent):
    pass


class Closed(RoomEvent):
    pass


class Unused(Event):
    room: Annotated[str, ROOM]


@dataclass(frozen=True)
class Changes:
    names: tuple[str, ...] = ()

    def apply(self, event: RoomEvent) -> Self:
        return replace(self, names=(*self.names, type(event).__name__))


class CountChanges(Command):
    room: str


class ChangesCounted(Event):
    names: tuple[str, ...]


def count_changes(command: CountChanges, past: Past) -> Iterator[ChangesCounted]:
    read = past.events(ROOM(command.room), of=RoomEvent)
    state = past.fold(Changes, ROOM(command.room))
    assert len(read) == len(state.names)
    yield ChangesCounted(names=state.names)


def test_a_decision_reads_the_events_of_a_base_class_that_is_no_event_of_the_application() -> None:
    app = App(commands=[count_changes], events=[Opened, Closed], genesis=[Opened(room="r")])

    when = CountChanges(room="r")
    [counted] = decide(app, given=[Opened(room="r"), Closed(room="r")], when=when)
    assert counted == ChangesCounted(names=("Opened", "Closed"))
    with InProcess(app) as client:
        assert client.command(when).events[0]["payload"] == {"names": ["Opened"]}
    with pytest.raises(TypeError, match="The application has no event RoomEvent: add it to"):
        decide(App(commands=[count_changes], events=[Unused]), when=when)


def test_a_projection_gives_rows() -> None:
    given = [ADA, BOB, UserRenamed(id="u-1", name="Countess")]
    rows = [{"id": "u-1", "name": "Countess"}, {"id": "u-2", "name": "Bob"}]
    assert project(users, given=given).all("SELECT * FROM users ORDER BY id") == rows
    assert project(users.projections[0], given=given).all("SELECT * FROM users ORDER BY id") == rows


def test_a_query_is_answered_from_the_events_given() -> None:
    assert answer(users, given=[ADA], when=GetUser(user_id="u-1")) == {"id": "u-1", "name": "Ada"}
    assert answer(users, given=[ADA], when=GetUser(user_id="u-2")) is None
    assert answer(users, given=[BOB, ADA], when=ListUsers(limit=1)) == [{"id": "u-1", "name": "Ada"}]


class Ship(Command):
    at: datetime
    extra: Any = None


class Shipped(Event):
    room: Annotated[str, ROOM] = "r"
    at: datetime


def ship(command: Ship, past: Past) -> Iterator[Shipped]:
    yield Shipped(at=command.at + timedelta(days=1))


class Due(Query[str]):
    at: datetime


def due(query: Due, tables: ReadOnlyTables) -> str:
    return (query.at + timedelta(days=1)).astimezone(UTC).isoformat()


def test_a_message_arrives_as_a_client_sends_it() -> None:
    app = App(commands=[ship], queries=[due])
    at = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))  # the offset arrives, and not the zone

    assert decide(app, when=Ship(at=at)) == [Shipped(at=datetime(2026, 10, 25, 10, tzinfo=UTC))]
    assert answer(app, when=Due(at=at)) == "2026-10-25T10:00:00+00:00"
    with InProcess(app) as client:
        assert client.query(Due(at=at)) == "2026-10-25T10:00:00+00:00"
    with pytest.raises(AssertionError, match="cannot be sent: Ship is not the same when it is read"):
        decide(app, when=Ship(at=at, extra=date(2026, 1, 31)))


class Peek(Query):
    pass


UPSERT = "INSERT INTO seen VALUES (1) ON CONFLICT DO NOTHING"


def _insert(event: Booked, tables: Tables) -> None:
    tables.execute(UPSERT)


def write(query: Peek, tables: ReadOnlyTables) -> Any:
    return tables.all(UPSERT)


def test_a_query_that_would_write_is_stopped_also_with_a_statement_of_a_projection() -> None:
    seen = Projection("seen", version=1, tables="CREATE TABLE seen (x INTEGER PRIMARY KEY)", on=[_insert])
    app = App(projections=[seen], queries=[write])
    booked = Booked(room="r", first=date(2026, 1, 1), at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(NotAllowed):
        answer(app, given=[booked], when=Peek())


@pytest.mark.parametrize("with_room", [True, False])
def test_a_deferred_foreign_key_must_hold_when_the_function_returns(with_room: bool) -> None:
    def note(event: Booked, tables: Tables) -> None:
        tables.execute("INSERT INTO stays VALUES (?)", (event.room,))
        if with_room:
            tables.execute("INSERT INTO rooms VALUES (?)", (event.room,))

    keyed = "CREATE TABLE stays (room TEXT REFERENCES rooms (name) DEFERRABLE INITIALLY DEFERRED)"
    rooms = Projection("rooms", 1, f"CREATE TABLE rooms (name TEXT PRIMARY KEY); {keyed}", on=[note])
    booked = Booked(room="r", first=date(2026, 1, 1), at=datetime(2026, 1, 1, tzinfo=UTC))
    if with_room:
        assert project(rooms, given=[booked]).all("SELECT room FROM stays") == [{"room": "r"}]
    else:
        with pytest.raises(NotAllowed, match="A deferred foreign key refers to a row that does not exist: insert"):
            project(rooms, given=[booked])


def peek(query: Peek, tables: ReadOnlyTables) -> Any:
    return {"a set"}


def pair(query: Peek, tables: ReadOnlyTables) -> Any:
    return (1, 2)


def test_an_answer_is_what_comes_through_the_wire() -> None:
    assert answer(App(queries=[pair]), when=Peek()) == [1, 2]
    app = App(queries=[peek])
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


@pytest.mark.parametrize("own_keys", [True, False], ids=["own keys", "keys of the environment"])
def test_a_cluster_without_a_folder_runs_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, own_keys: bool) -> None:
    if own_keys:
        monkeypatch.delenv("DUALBUS_KEYS")
    before = dict(os.environ)
    with Cluster(app="users:app", cwd=ROOT) as cluster, Client(cluster.front, timeout=60) as client:
        client.command(CreateUser(name="Ada", email="ada@example.org"))
        assert [user["name"] for user in client.query(ListUsers())] == ["Ada", "John Doe"]
    assert not cluster.folder.exists()
    assert not any(process.running for process in cluster.processes)
    assert os.environ == before


def test_a_cluster_of_an_application_with_reactions_has_a_reactor() -> None:
    with Cluster(app="examples.orders:app", cwd=ROOT) as cluster:
        assert "reactor" in {process.name for process in cluster.processes}
    with Cluster(app="examples.orders:app", cwd=ROOT, reactor=False) as cluster:
        assert "reactor" not in {process.name for process in cluster.processes}


def test_a_cluster_of_an_application_with_mistakes_reports_them(tmp_path: Path) -> None:
    (tmp_path / "mistaken.py").write_text("from dualbus import App\napp = App(commands=[len])")
    with pytest.raises(AssertionError) as caught, Cluster(app="mistaken:app", cwd=tmp_path):
        pass
    assert re.search(r"^(commandbus|projector|querybus) has ended with exit code 78:\n", str(caught.value))
    assert "len" in str(caught.value)


def test_tables_that_are_not_sql_are_reported_by_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "mistaken.py").write_text(
        "from dualbus import App, Event, Projection, Tables\n"
        "class Done(Event): pass\n"
        "def insert(event: Done, tables: Tables) -> None: pass\n"
        "app = App(projections=[Projection('done', version=1, tables='CREATE TABEL done', on=[insert])])\n"
    )
    with pytest.raises(AssertionError, match=r"(?s)projector has ended .* are not valid SQL"):
        Cluster(app="mistaken:app", cwd=tmp_path).__enter__()


def test_the_fixture_of_a_cluster_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "mistaken.py").write_text("app = 5")
    (tmp_path / "test_it.py").write_text("def test_it(dualbus_cluster): pass")
    environ = os.environ | {"DUALBUS_APP": "mistaken:app"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "Module 'mistaken' has no App in 'app'" in done.stdout
    assert "1 error" in done.stdout


def test_a_cluster_imports_the_application_from_the_python_path_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "src" / "shop" / "__init__.py").write_text("from dualbus import App\napp = App()\n")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    (tmp_path / "test_it.py").write_text("def test_it(dualbus_cluster): pass")
    environ = os.environ | {"DUALBUS_APP": "shop:app"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


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
