"""Each kind of value has one form in a table and one in an answer; what has none is refused in a sentence."""

import base64
import math
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from dualbus import App, Projection, Query, ReadOnlyTables
from dualbus.application.tables import NotAllowed, Value
from dualbus.log.identity import Identity
from dualbus.log.latest import LatestLog
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.records import Job
from dualbus.querybus.feed import EventFeed
from dualbus.querybus.responder import Responder
from dualbus.readmodel.file import create
from dualbus.readmodel.memory import ModelInMemory
from dualbus.readmodel.values import answer_data
from dualbus.readmodel.writer import ReadModelWriter


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Since(Enum):
    START = date(2026, 1, 31)


class Point(BaseModel):
    x: int
    price: Decimal = Field(alias="thePrice")


@dataclass
class Line:
    start: Point
    name: str


class Pair(NamedTuple):
    left: int
    right: Colour


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ID = UUID("0198a1f2-0000-7000-8000-000000000001")
POINT = Point(x=1, thePrice=Decimal("1.10"))
FORMS: list[tuple[Value, Any, Any]] = [
    # value, in a table, in an answer
    ("text", "text", "text"),
    (5, 5, 5),
    (1.5, 1.5, 1.5),
    (None, None, None),
    (True, 1, True),
    (b"\xff\x00", b"\xff\x00", base64.urlsafe_b64encode(b"\xff\x00").decode()),
    (NOON, "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:00.000000Z"),
    (NOON.astimezone(timezone(timedelta(hours=2))), "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:00.000000Z"),
    (datetime(7, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "0007-01-02T03:04:05.000006Z", "0007-01-02T03:04:05.000006Z"),
    (date(2026, 1, 31), "2026-01-31", "2026-01-31"),
    (Decimal("12345678901234567.890"), "12345678901234567.890", "12345678901234567.890"),
    (ID, str(ID), str(ID)),
    (time(9, 30), "09:30:00", "09:30:00"),
    (PurePosixPath("a/b"), "a/b", "a/b"),
    (IPv4Address("10.0.0.1"), "10.0.0.1", "10.0.0.1"),
    ({1: True, False: 2, 2.5: [3]}, '{"1":true,"false":2,"2.5":[3]}', {"1": True, "false": 2, "2.5": [3]}),
    (Colour.RED, "red", "red"),
    (Size.BIG, 3, 3),
    (Since.START, "2026-01-31", "2026-01-31"),
    ([1, "ü", NOON], '[1,"ü","2026-01-31T12:00:00.000000Z"]', [1, "ü", "2026-01-31T12:00:00.000000Z"]),
    ((ID,), f'["{ID}"]', [str(ID)]),
    ({Colour.RED: {"a": b"\xff"}}, '{"red":{"a":"_w=="}}', {"red": {"a": "_w=="}}),
    (POINT, '{"x":1,"thePrice":"1.10"}', {"x": 1, "thePrice": "1.10"}),
    (Line(POINT, "l"), '{"start":{"x":1,"thePrice":"1.10"},"name":"l"}',
     {"start": {"x": 1, "thePrice": "1.10"}, "name": "l"}),
    (Pair(1, Colour.RED), '[1,"red"]', [1, "red"]),
]  # fmt: skip


@pytest.fixture
def tables() -> ModelInMemory:
    return ModelInMemory([Projection("values", 1, "CREATE TABLE v (v, w)", on=[])])


@pytest.mark.parametrize(("value", "stored", "answered"), FORMS, ids=repr)
def test_a_value_has_one_form_in_a_table_and_one_in_an_answer(
    tables: ModelInMemory, value: Value, stored: Any, answered: Any
) -> None:
    tables.execute("INSERT INTO v VALUES (?, 1)", (value,))
    tables.execute("INSERT INTO v VALUES (:value, 2)", {"value": value})

    rows = tables.all("SELECT v FROM v")
    assert rows == [{"v": stored}] * 2
    assert type(rows[0]["v"]) is type(stored)
    assert tables.all("SELECT w FROM v WHERE v IS ?", (value,)) == [{"w": 1}, {"w": 2}]
    answer = answer_data({"of": [value]})
    assert answer == {"of": [answered]}
    assert type(answer["of"][0]) is type(answered)


def test_times_sort_as_text(tables: ModelInMemory) -> None:
    moments = [NOON + timedelta(microseconds=number) for number in (0, 1, 10, 1_000_000, 86_400_000_000)]
    for moment in reversed(moments):
        tables.execute("INSERT INTO v (v) VALUES (?)", (moment,))

    assert [row["v"] for row in tables.all("SELECT v FROM v ORDER BY v")] == [answer_data(one) for one in moments]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (datetime(2026, 1, 31, 12), "A datetime without a time zone is not a point in time: use an aware datetime"),
        ([datetime(2026, 1, 31, 12)], "A datetime without a time zone"),
        ({1, 2}, "A value of type set has no "),
        ({1: {None: 2}}, "\\['1'\\]: A key of an object is not text"),
        ([{1}], "A value of type set has no place in a message"),
    ],
)
def test_a_value_without_a_form_is_refused_in_a_sentence(tables: ModelInMemory, value: Any, sentence: str) -> None:
    for run in (lambda: tables.execute("INSERT INTO v (v) VALUES (?)", (value,)), lambda: answer_data([value])):
        with pytest.raises(Exception, match=sentence):
            run()

    assert tables.all("SELECT v FROM v") == []


def test_nan_is_null_in_a_table_and_refused_in_an_answer(tables: ModelInMemory) -> None:
    tables.execute("INSERT INTO v VALUES (?, ?)", (math.nan, math.inf))

    assert tables.all("SELECT v, w FROM v") == [{"v": None, "w": math.inf}]
    for value in (math.nan, math.inf):
        with pytest.raises(WireError, match="A number is not finite"):
            answer_data(value)


class Ask(Query[Any]):
    pass


def answered(returned: Any) -> dict[str, Any]:
    """Return the body of an answer, as a client receives it."""

    def answer(query: Ask, tables: ReadOnlyTables) -> Any:
        return returned

    app = App(queries=[answer])
    feed = EventFeed(app, LatestLog(Path("no-log")).open)
    job = Job(1, 1, 0.0, None, 0, {"type": "Ask", "msg_id": 7})
    body: dict[str, Any] = unpack(Responder(app, feed).answer(job, ModelInMemory([]))[0])
    return body


def test_a_query_may_return_models_dataclasses_and_rows() -> None:
    assert answered([Line(POINT, "l"), {"at": NOON}, None])["data"] == [
        {"start": {"x": 1, "thePrice": "1.10"}, "name": "l"},
        {"at": "2026-01-31T12:00:00.000000Z"},
        None,
    ]
    assert answered(POINT)["data"] == {"x": 1, "thePrice": "1.10"}


def test_a_query_that_returns_what_has_no_form_is_aborted() -> None:
    assert answered({1, 2})["code"] == 14


def test_two_columns_of_one_name_are_refused_and_no_value_is_lost(tables: ModelInMemory) -> None:
    for run in (tables.one, tables.all):
        for sql in ("SELECT a.v, b.v FROM v a, v b", "SELECT v, w AS v FROM v"):
            with pytest.raises(NotAllowed, match=r"has several columns with the name v: name each with AS\."):
                run(sql)
    tables.execute("INSERT INTO v VALUES (1, 2)")

    assert tables.one("SELECT a.v, b.v AS other FROM v a, v b") == {"v": 1, "other": 1}


# Foreign keys.


def test_foreign_keys_are_enforced(folder: Path) -> None:
    projection = Projection(
        "team",
        1,
        "CREATE TABLE team (id TEXT PRIMARY KEY);"
        "CREATE TABLE member (team TEXT REFERENCES team (id) ON DELETE CASCADE)",
        on=[],
    )
    path = folder / "read.db"
    create(path, [projection], Identity("log", "life"))
    with closing(ReadModelWriter(path)) as writer:
        writer.begin()
        for tables in (writer, ModelInMemory([projection])):
            assert isinstance(tables, ReadModelWriter | ModelInMemory)
            with pytest.raises(Exception, match="FOREIGN KEY constraint failed"):
                tables.execute("INSERT INTO member VALUES ('none')")
            tables.execute("INSERT INTO team VALUES ('a')")
            tables.execute("INSERT INTO member VALUES ('a')")
            tables.execute("DELETE FROM team")
            assert tables.all("SELECT * FROM member") == []


# Chance and the clock.

CLOCKS = [
    "random()",
    "hex(randomblob(4))",
    "CURRENT_TIMESTAMP",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "total_changes()",
    "changes()",
    "last_insert_rowid()",
    "datetime('now')",
    "date('NOW', '-1 day')",
    "datetime()",
    "unixepoch()",
    "unixepoch('subsec')",
    "strftime('%Y')",
    "strftime('%Y', 'now')",
    "julianday('now')",
    "timediff('now', '2026-01-01')",
    "timediff('2026-01-01', 'subsec')",
    "datetime(?)",
    "datetime(x'6e6f77')",
    "datetime(x'4e4f5700ff')",
    "datetime('now' || char(0) || 'never')",
    "datetime(0, 'unixepoch', x'6c6f63616c74696d65')",
    "strftime(x'2559', x'6e6f77')",
    "datetime(0, 'unixepoch', 'localtime')",
]


@pytest.mark.parametrize("expression", CLOCKS)
def test_chance_and_the_clock_are_refused_to_a_projection_and_open_to_a_query(
    tables: ModelInMemory, expression: str
) -> None:
    values = ("now",) if "?" in expression else ()
    for run in (lambda: tables.execute(f"INSERT INTO v (v) VALUES ({expression})", values),
                lambda: tables.all(f"SELECT {expression} AS v", values)):  # fmt: skip
        with pytest.raises(NotAllowed, match=r"A projection cannot use .*: rebuilt rows would differ"):
            run()

    assert tables.read_only().one(f"SELECT {expression} AS v", values) is not None


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("date('2026-01-31', '+1 day')", "2026-02-01"),
        ("strftime('%Y', '2026-01-31T12:00:00.000000Z')", "2026"),
        ("unixepoch('2026-01-31T12:00:00.000000Z')", 1769860800),
        ("datetime(0, 'unixepoch')", "1970-01-01 00:00:00"),
        ("date(NULL)", None),
        ("date(x'323032362d30312d3331')", "2026-01-31"),
        ("date('never')", None),
    ],
)
def test_functions_of_time_with_a_time_are_those_of_sqlite(
    tables: ModelInMemory, expression: str, result: Any
) -> None:
    assert tables.one(f"SELECT {expression} AS v") == {"v": result}


def test_a_projection_reads_the_rows_of_its_statement_with_returning(tables: ModelInMemory) -> None:
    assert tables.one("INSERT INTO v (v) VALUES (1) RETURNING rowid AS number") == {"number": 1}
    assert tables.all("UPDATE v SET v = 2 WHERE v = 1 RETURNING v") == [{"v": 2}]


def test_a_default_of_a_column_reads_no_clock() -> None:
    clocked = ModelInMemory([Projection("c", 1, "CREATE TABLE c (v, at DEFAULT CURRENT_TIMESTAMP)", on=[])])

    with pytest.raises(NotAllowed, match=r"A projection cannot use current_timestamp\(\)"):
        clocked.execute("INSERT INTO c (v) VALUES (1)")
    clocked.execute("INSERT INTO c VALUES (1, ?)", (NOON,))


def test_a_projection_may_index_a_date() -> None:
    dated = ModelInMemory([Projection("d", 1, "CREATE TABLE d (at); CREATE INDEX i ON d (date(at))", on=[])])
    dated.execute("INSERT INTO d VALUES (?)", (NOON,))
    reading: ReadOnlyTables = dated.read_only()

    assert reading.one("SELECT at FROM d WHERE date(at) = ?", (NOON.date(),)) == {"at": "2026-01-31T12:00:00.000000Z"}
