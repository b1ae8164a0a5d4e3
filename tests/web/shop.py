"""An application with a field of every form, a slow query, and functions that fail."""

import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Literal, TypedDict

from pydantic import AliasChoices, BaseModel, Field

from dualbus import (
    App,
    Command,
    Event,
    Past,
    Private,
    Problem,
    Projection,
    Query,
    ReadOnlyTables,
    Rejected,
    Tables,
    Tag,
    Text,
)

ITEM = Tag("item")


class Colour(Enum):
    RED = "red"
    NULL = "null"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Part(BaseModel):
    name: Text
    amount: Annotated[int, Field(ge=1)]


class AddItem(Command):
    """Add an item to the shop."""

    item: Text
    price: Decimal = Decimal("1.50")
    parts: list[Part] = Field(default_factory=list)
    secret: str = "hidden"


class Explode(Command):
    pass


class Refuse(Command):
    parts: list[Part] = Field(default_factory=list)


class ItemAdded(Event):
    item: Annotated[str, ITEM]
    price: Decimal
    secret: Annotated[str, Private]


class Item(TypedDict):
    item: str
    price: str


class Echo(Query[dict[str, object]]):
    """Return the fields as the application receives them."""

    text: str = ""
    maybe: str | None = None
    number: int = 0
    maybe_number: int | None = None
    ratio: float = 0.0
    price: Decimal = Decimal(0)
    day: date | None = None
    flag: bool = False
    colour: Colour = Colour.RED
    size: Size = Size.SMALL
    payment: Literal["card", "cash"] = "card"
    names: list[str] = Field(default_factory=list)
    numbers: list[int] = Field(default_factory=list)
    parts: list[Part] = Field(default_factory=list)
    part: Part | None = None
    corner: tuple[int, str] = (0, "")
    pair: tuple[int, int] = (0, 0)
    limit: Literal["auto"] | int = 0
    since: date | int = 0
    tags: str | list[int] = ""
    few: Literal["all"] | list[int] = "all"
    colours: list[Colour | int] = Field(default_factory=list)
    second: int = Field(default=0, validation_alias=AliasChoices("first", "second"))


class ListItems(Query[list[Item]]):
    prefix: str = ""


class Sleep(Query[str]):
    seconds: float


class Fail(Query[str]):
    pass


class CountItems(Query[int]):
    item: str


def add_item(command: AddItem, past: Past) -> Iterator[ItemAdded]:
    if next(iter(past.events(ITEM(command.item))), None):
        raise Rejected("There is an item of this name", code="item_taken", field="item")
    yield ItemAdded(item=command.item, price=command.price, secret=command.secret)


def explode(command: Explode, past: Past) -> Iterator[ItemAdded]:
    raise RuntimeError("a bug")
    yield


def refuse(command: Refuse, past: Past) -> Iterator[ItemAdded]:
    raise Rejected(Problem("No", field="parts[0].a/b~c", code="no"))
    yield


def insert_item(event: ItemAdded, tables: Tables) -> None:
    tables.execute("INSERT INTO items (item, price) VALUES (?, ?)", (event.item, str(event.price)))


def echo(query: Echo, tables: ReadOnlyTables) -> dict[str, object]:
    return query.model_dump(mode="json", exclude_unset=True)


def list_items(query: ListItems, tables: ReadOnlyTables) -> list[Item]:
    rows = tables.all("SELECT item, price FROM items WHERE item >= ? ORDER BY item", (query.prefix,))
    return [{"item": row["item"], "price": row["price"]} for row in rows if row["item"].startswith(query.prefix)]


def sleep(query: Sleep, tables: ReadOnlyTables) -> str:
    time.sleep(query.seconds)
    return "slept"


def fail(query: Fail, tables: ReadOnlyTables) -> str:
    raise RuntimeError("a bug")


def count_items(query: CountItems, tables: ReadOnlyTables) -> int:
    """Fail for two items."""
    found = [row for row in tables.all("SELECT item FROM items") if row["item"].startswith(query.item)]
    if len(found) == 2:
        raise RuntimeError("a bug")
    return len(found)


TABLES = "CREATE TABLE items (item TEXT PRIMARY KEY, price TEXT)"
app = App(
    commands=[add_item, explode, refuse],
    projections=[Projection("items", version=1, tables=TABLES, on=[insert_item])],
    queries=[echo, list_items, sleep, fail, count_items],
)
