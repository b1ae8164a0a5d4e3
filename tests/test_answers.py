"""Typed answers: a client reads the value that the query function has returned, or the query is aborted."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NotRequired, Self
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    computed_field,
    model_validator,
    with_config,
)
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict, TypeVar

from dualbus import App, HandlerError, Page, Query, ReadOnlyTables
from dualbus.application.answers import ChangedAnswer
from dualbus.log.latest import LatestLog
from dualbus.protocol.codec import unpack
from dualbus.protocol.records import Job
from dualbus.querybus.feed import EventFeed
from dualbus.querybus.responder import Responder
from dualbus.readmodel.memory import ModelInMemory
from dualbus.testing import answer


class Level(IntEnum):
    HIGH = 42


class Tone(StrEnum):
    RED = "red"


class Marked(BaseModel):
    mark: Any


class Painted(BaseModel):
    paints: dict[Tone | str, int]


def european(day: date) -> str:
    return day.strftime("%d.%m.%Y")


def from_european(text: Any) -> Any:
    return datetime.strptime(text, "%d.%m.%Y").date() if isinstance(text, str) else text


EuropeanDate = Annotated[date, PlainSerializer(european, when_used="json"), BeforeValidator(from_european)]


class European(BaseModel):
    day: EuropeanDate
    end: EuropeanDate | None = None
    price: Decimal = Decimal("0.10")
    at: datetime | None = None
    data: bytes = b""


class Invoice(BaseModel):
    parts: list[European]


class Two(BaseModel):
    p: Decimal = Field(default=Decimal(0), validation_alias="thePrice", serialization_alias="aPrice")


class Required(BaseModel):
    p: int = Field(validation_alias="thePrice", serialization_alias="aPrice")


class Hidden(BaseModel):
    n: int = Field(default=1, exclude=True)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Kennel(BaseModel):
    pets: list[Animal]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def square(self) -> int:
        return self.side**2


class Open(Animal):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        return len(self.name)


Loud = Annotated[str, AfterValidator(lambda text: text + "!")]


class Shouted(BaseModel):
    word: Loud
    masked: Annotated[str, PlainSerializer(lambda text: "****")] = "****"


class Counted(BaseModel):
    """A function after the whole changes the model each time that it is validated."""

    count: int

    @model_validator(mode="after")
    def counted(self) -> Self:
        self.count += 1
        return self


class FromRows(BaseModel):
    """A function before the whole expects an object of JSON."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def from_row(cls, row: Any) -> Any:
        return {"name": row["name"]}


class Free(BaseModel):
    anything: Any = None
    level: Level | int = 0


class Priced(BaseModel):
    prices: dict[int, Decimal]


class Noted(BaseModel):
    _note: str = PrivateAttr("")


class Aliased(BaseModel):
    at: datetime = Field(alias="theTime")
    data: bytes = b""


class Row(TypedDict):
    at: str | date


class Columns(BaseModel):
    name: str = Field(validation_alias="user_name")
    id: str = ""


class Sale(TypedDict, total=False):
    day: str
    total: float
    note: Any
    level: int


class Stock(TypedDict):
    left: Annotated[int, Field(ge=0)]


class Offer(TypedDict, total=False):
    day: date
    price: float
    id: str
    span: "Span"


class Tree(TypedDict):
    name: str
    below: "list[Tree]"


class Family(TypedDict, total=False):
    born: date
    parent: "Family | None"
    children: "list[Family]"


@with_config(ConfigDict(extra="allow"))
class OpenOffer(TypedDict):
    day: date


V = TypeVar("V")
W = TypeVar("W", default=date)


class Box(TypedDict, Generic[V]):
    content: V


class DateBox(Box[date]):
    weight: int


class Crate(Box[list[V]], Generic[V]):
    lid: V
    inner: NotRequired[Box[Decimal]]


class DecimalCrate(Crate[Decimal]):
    pass


class AnimalPage(Page[Animal]):
    total: int


class Kept(Query[W], Generic[W]):
    pass


class KeptDate(Kept):
    pass


@dataclass(frozen=True)
class Span:
    first: date
    pet: Animal | None = None


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = date(2026, 1, 31)


def noted() -> Noted:
    made = Noted()
    made._note = "x"
    return made


def returning(type_: Any, value: Any) -> tuple[App, Query[Any]]:
    """Return an application with a query of a type, whose function returns a value."""

    class Find(Query[type_]):
        pass

    def find(query: Any, tables: ReadOnlyTables) -> Any:
        return value

    find.__annotations__["query"] = Find
    return App(queries=[find]), Find()


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Open, Open(name="a")),
        (list[Animal | Dog], [Animal(name="a"), Dog(name="a", breed="b")]),
        (Aliased, Aliased(theTime=NOON, data=b"\xff")),
        (Hidden, Hidden()),
        (date | None, DAY),
        (Level | None, Level.HIGH),
        (Literal[Level.HIGH, "low"], Level.HIGH),
        (Span, Span(DAY, Animal(name="a"))),
        (dict[str, Decimal], {"a": Decimal("0.10")}),
        (FromRows, FromRows(name="a")),
        (Free, Free(anything=[1, None], level=5)),
        (dict[int, str], {1: "a", -20: "b"}),
        (dict[float, int], {1.5: 1}),
        (dict[bool, int], {True: 1, False: 0}),
        (dict[Level, str], {Level.HIGH: "a"}),
        (Priced, Priced(prices={2: Decimal("2.50")})),
        (list[time | None], [time(9, 30), time(9, 30, 0, 1, tzinfo=UTC)]),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (PurePosixPath, PurePosixPath("a/b")),
        (IPv4Address, IPv4Address("10.0.0.1")),
        (AnyUrl, AnyUrl("https://example.org/a")),
        (AnimalPage, {"items": [Animal(name="a")], "next": None, "total": 1}),
        (list[DateBox], [{"content": DAY, "weight": 1}]),
        (DecimalCrate, {"content": [Decimal("0.1")], "lid": Decimal(1), "inner": {"content": Decimal("1.0")}}),
        (Crate[date], {"content": [DAY], "lid": DAY}),
        (Tree, {"name": "a", "below": [{"name": "b", "below": []}]}),
        (Family, {"born": DAY, "parent": {"born": DAY, "parent": None}, "children": [{"born": DAY}]}),
        (OpenOffer, {"day": DAY, "note": "a"}),
        (Invoice, Invoice(parts=[European(day=DAY, at=NOON, data=b"\xff")])),
    ],
    ids=str,
)
def test_an_answer_is_read_equal(type_: Any, value: Any) -> None:
    app, query = returning(type_, value)

    read = answer(app, when=query)

    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("type_", "value", "place"),
    [
        (Two, Two(thePrice=Decimal(5)), r"Two\.p\. Let"),
        (Hidden, Hidden(n=5), r"Hidden\.n\. Let"),
        (list[Animal], [Dog(name="a", breed="b")], r"list\[0\] \(a value of type Dog, read as Animal\)"),
        (Kennel, Kennel(pets=[Dog(name="a", breed="b")]), r"Kennel\.pets\[0\] \(a value of type Dog"),
        (str | date, DAY, r"date \(a value of type date, read as str\)"),
        (Row, {"at": DAY}, r"dict\['at'\] \(a value of type date, read as str\)"),
        (Shouted, Shouted(word="a"), r"Shouted\.word\."),
        (Shouted, Shouted(word="a", masked="b"), r"Shouted\.(word|masked)\."),
        (set[int] | list[Free], [Free(level=Level.HIGH)], r"list\[0\].level"),
        (Free, Free(anything=DAY), r"Free\.anything \(a value of type date, read as str\)"),
        (Free | None, Free(level=Level.HIGH), r"Free\.level \(a value of type Level, read as int\)"),
        (Marked, Marked(mark=Level.HIGH), r"Marked\.mark \(a value of type Level, read as int\)"),
        (
            Painted,
            Painted(paints={Tone.RED: 1}),
            r"Painted\.paints\[<Tone\.RED: 'red'>\] \(a key of type Tone, read as str\)",
        ),
        (Counted, Counted(count=1), r"Counted\.count\."),
        (Noted, noted(), r"when it is read back: Noted\."),
        (Span, Span(DAY, Dog(name="a", breed="b")), r"Span\.pet"),
        (Required, Required(thePrice=1), r"cannot be read back \(Required\.thePrice: missing\)"),
        (float, Decimal("1.5"), r"Decimal \(a value of type Decimal, read as str\)"),
        (list[float | None], [None, Decimal("1.5")], r"list\[1\] \(a value of type Decimal, read as str\)"),
        (list[Sale], [{"day": DAY}], r"list\[0\]\['day'\] \(a value of type date, read as str\)"),
        (
            list[Offer],
            [{"day": DAY, "price": Decimal("0.1")}],
            r"list\[0\]\['price'\] \(a value of type Decimal, read as",
        ),
        (Offer | None, {"day": DAY, "id": UUID(int=1)}, r"dict\['id'\] \(a value of type UUID, read as str\)"),
        (dict[str, date], {UUID(int=1): DAY}, r"dict.* \(a value of type UUID, read as str\)"),
        (Page[Sale], {"items": [{"total": Decimal(1)}], "next": None}, r"dict\['items'\]\[0\]\['total'\] \(a value"),
        (dict[str, int], {DAY: 1}, r"dict.* \(a value of type date, read as str\)"),
        (Closed, Closed(side=2), r"cannot be read back \(Closed\.square: extra_forbidden\)"),
        (
            list[dict[str, set[int]]],
            [{"a": {1}}],
            r"has no form in JSON, at list\[0\]\['a'\]: A value of type set has",
        ),
        (dict[Any, Any], {None: 1}, r"has no form in JSON, at dict: A key of an object is not text"),
    ],
    ids=str,
)
def test_an_answer_that_would_change_on_the_way_is_refused(type_: Any, value: Any, place: str) -> None:
    app, query = returning(type_, value)

    with pytest.raises(ChangedAnswer, match=rf"The answer to Find .*{place}"):
        answer(app, when=query)


@pytest.mark.parametrize(
    ("type_", "rows", "check"),
    [
        (Columns, {"user_name": "Ada"}, lambda read: read.name == "Ada"),
        (list[Columns], [{"user_name": "Ada", "id": UUID(int=1)}], lambda read: read[0].id == str(UUID(int=1))),
        (Two, {"thePrice": "5"}, lambda read: read.p == 5),
        (
            Offer,
            {"span": {"first": DAY, "pet": {"name": UUID(int=1)}}},
            lambda read: len(read["span"].pet.name) == 36,
        ),
        (list[Loud], ["a"], lambda read: read == ["a!"]),
        (Iterable[Span], [Span(DAY)], lambda read: list(read) == [Span(DAY)]),
        (Aliased, {"theTime": NOON, "data": b"\xff"}, lambda read: read == Aliased(theTime=NOON, data=b"\xff")),
    ],
    ids=["model", "list", "aliases", "inside", "function", "iterable", "bytes"],
)
def test_a_row_in_place_of_a_model_is_for_the_model_to_read(
    type_: Any, rows: Any, check: Callable[[Any], bool]
) -> None:
    app, query = returning(type_, rows)

    assert check(answer(app, when=query))


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        (list[Sale], [{"note": DAY, "day": "a"}], [{"note": "2026-01-31", "day": "a"}]),
        (list[Sale], ({"note": 1, "level": Level.HIGH, "total": 1},), [{"note": 1, "level": 42, "total": 1}]),
        (dict[str, Any], Animal(name="a"), {"name": "a"}),
        (Sale | None, Span(DAY), {"first": "2026-01-31", "pet": None}),
        (Any, Decimal("0.10"), "0.10"),
        (
            Any,
            European(day=DAY, at=NOON, data=b"\xff"),
            {"day": "31.01.2026", "end": None, "price": "0.10", "at": "2026-01-31T12:00:00.000000Z", "data": "_w=="},
        ),
        (list[list[int]], [(1, True)], [[1, True]]),
    ],
    ids=str,
)
def test_a_value_of_any_type_and_a_sequence_have_their_form_in_json(type_: Any, value: Any, read: Any) -> None:
    app, query = returning(type_, value)

    assert answer(app, when=query) == read


@pytest.mark.parametrize("value", [[{"left": 1}, {"left": -1}], [{"left": 1}, {}]], ids=["rule", "missing"])
def test_an_answer_that_breaks_a_rule_of_its_type_is_no_answer_for_the_client(value: Any) -> None:
    app, query = returning(list[Stock], value)

    with pytest.raises(HandlerError, match="The answer to Find is not of its type"):
        answer(app, when=query)


T = TypeVar("T")
U = TypeVar("U")


class Dated(TypedDict):
    day: date


class Listing(Query[list[T]], Generic[T]):
    limit: int = 10


class Pages(Listing[Page[U]], Generic[U]):
    pass


class ListDated(Listing[Dated]):
    pass


class ListPages(Pages[Dated]):
    pass


def list_dated(query: ListDated, tables: ReadOnlyTables) -> list[Dated]:
    return [{"day": DAY}]


def list_pages(query: ListPages, tables: ReadOnlyTables) -> list[Page[Dated]]:
    return [{"items": [{"day": DAY}], "next": None}]


def test_the_answer_to_a_generic_query_has_the_types_of_its_arguments() -> None:
    app = App(queries=[list_dated, list_pages])

    assert answer(app, when=ListDated()) == [{"day": DAY}]
    assert answer(app, when=ListPages()) == [{"items": [{"day": DAY}], "next": None}]


def kept_date(query: KeptDate, tables: ReadOnlyTables) -> date:
    return DAY


def test_the_answer_to_a_query_without_an_argument_has_the_default_of_its_type_variable() -> None:
    assert answer(App(queries=[kept_date]), when=KeptDate()) == DAY


def test_a_query_bus_aborts_a_query_whose_answer_would_change() -> None:
    app, _ = returning(list[Animal], [Dog(name="a", breed="b")])
    feed = EventFeed(app, LatestLog(Path("no-log")).open)
    job = Job(1, 1, 0.0, None, 0, {"type": "Find", "msg_id": 7})

    body = unpack(Responder(app, feed).answer(job, ModelInMemory([]))[0])

    assert (body["code"], body["text"]) == (
        14,
        "The answer to Find is not the same when it is read back: list[0] (a value of type Dog, read as Animal). "
        "Let its type keep this value in JSON, or return another value.",
    )
