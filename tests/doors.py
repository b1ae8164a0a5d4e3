"""An application that exists for the tests of values: a command, its event and a query with a field of each type."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from typing_extensions import TypedDict

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables
from dualbus.application.event_json import from_text, to_text


class Odd(Enum):
    NULL = "null"
    NUMBER = "42"
    TRUE = "true"
    PLAIN = "plain"


class Level(IntEnum):
    LOW = 1
    HIGH = 2**60


class Line(BaseModel):
    price: Decimal
    day: date
    parts: list["Line"] = []


class Box(TypedDict):
    price: Decimal
    days: list[date]


class Money:
    """A class without a JSON schema."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents


def read_money(value: Any) -> Money:
    return value if isinstance(value, Money) else Money(int(value))


Amount = Annotated[Money, BeforeValidator(read_money), PlainSerializer(lambda money: money.cents)]


class Coin(Enum):
    """Its values have no JSON schema either."""

    EURO = Money(100)


class Values(BaseModel):
    """A field of each type."""

    price: Decimal | None = None
    prices: list[Decimal] = []
    at: datetime | None = None
    local: datetime | None = None
    day: date | None = None
    clock: time | None = None
    span: timedelta | None = None
    id: UUID | None = None
    odd: Odd | None = None
    level: Level | None = None
    data: bytes | None = None
    line: Line | None = None
    lines: list[Line] = []
    by_name: dict[str, Decimal] = {}
    box: Box | None = None
    pair: tuple[int, Decimal] | None = None
    whole: int | None = None
    rate: float | None = None
    flag: bool | None = None
    text: str | None = None
    either: int | Decimal | None = None
    anything: Any = None


class AllValues(Values):
    among: set[int] = set()  # a set has no form in an answer


class Keep(AllValues, Command):
    pass


class Kept(AllValues, Event):
    pass


class Show(AllValues, Query[str]):
    """Answered with the `repr` of its fields."""


class Answer(Values, Query[Values]):
    """Answered with its fields."""


class Say(Query[str]):
    """Answered with the `repr` of its fields; none may be missing."""

    note: str
    quoted: str | None
    maybe: str | None
    odd: Odd
    odds: list[Odd]
    level: Level | None
    literal: Literal["true", 1, None]
    price: Decimal | None
    either: int | str


class Price(Query[int]):
    """Answered with the cents of its amount."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    amount: Amount = Money(0)
    coin: Coin | None = None


def keep(command: Keep, past: Past) -> Iterator[Kept]:
    yield Kept(**dict(command))


def note(event: Kept, tables: Tables) -> None:
    tables.execute("INSERT INTO kept (data) VALUES (?)", (event.model_dump_json(),))


def show(query: Show, tables: ReadOnlyTables) -> str:
    return repr(dict(query))


def say(query: Say, tables: ReadOnlyTables) -> str:
    return repr(dict(query))


def answer(query: Answer, tables: ReadOnlyTables) -> Values:
    return Values(**dict(query))


def price(query: Price, tables: ReadOnlyTables) -> int:
    return query.amount.cents


app = App(
    commands=[keep],
    projections=[Projection("kept", 1, "CREATE TABLE kept (data TEXT)", on=[note])],
    queries=[show, answer, say, price],
)

LONG = Decimal("12345678901234567.89")
PLAIN: dict[str, Any] = {
    "price": LONG,
    "prices": [Decimal("0.10"), LONG, Decimal("12345678901234567.90"), Decimal("-1E+5"), Decimal("0.5"), Decimal(3)],
    "at": datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "id": UUID("0190a5a0-7b6c-7def-8123-456789abcdef"),
    "odd": Odd.NULL,
    "level": Level.HIGH,
    "data": b"\x00\xff\xfe binary",
    "line": Line(price=LONG, day=date(2026, 2, 28), parts=[Line(price=Decimal("1.50"), day=date(1, 1, 1))]),
    "lines": [Line(price=Decimal("2.10"), day=date(9999, 12, 31))],
    "by_name": {"a b": Decimal("0.30"), "ä": LONG},
    "box": {"price": Decimal("9.90"), "days": [date(2026, 1, 1)]},
    "pair": (2**62, Decimal("7.70")),
    "whole": -(2**63),
    "rate": 0.1,
    "flag": False,
    "text": "\U0001f600 null \ud7ff",
    "either": Decimal("8.80"),
    "anything": {"deep": [1, "2", None, True, 0.1]},
}
"""Values that a client may pass as keywords."""
MORE: dict[str, Any] = {
    "local": datetime(2026, 1, 31, 12),
    "clock": time(23, 59, 59, 1),
    "span": timedelta(days=-1, microseconds=1),
    "among": {3, 1, 2},
}
VALUES = dict(from_text(Kept, to_text(Kept(**{**PLAIN, **MORE}))))
