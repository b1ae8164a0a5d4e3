"""An application for tests of the page: fields of many forms, private data, and a projection that can stop."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from dualbus import App, Command, Event, Past, Private, Projection, Query, ReadOnlyTables, Rejected, Tables, Tag, Text

ORDER, CARD = Tag("order"), Tag("card")


class Speed(StrEnum):
    slow = "slow"
    fast = "fast"


class Line(BaseModel):
    item: str
    count: int


class PlaceOrder(Command):
    """Place an order."""

    customer: Text
    card: Text
    count: Annotated[int, Field(ge=1, le=99)] = 1
    price: Decimal = Decimal("9.90")
    speed: Speed = Speed.slow
    gift: bool | None = None
    day: date | None = None
    labels: list[str] = Field(default_factory=list)
    lines: list[Line] = Field(default_factory=list)


class CancelOrder(Command):
    order: Text
    reason: str = Field(default="", max_length=10, alias="the.reason code")


class OrderPlaced(Event):
    order: Annotated[str, ORDER]
    customer: str
    card: Annotated[str, CARD, Private]
    details: dict[str, Any]


class OrderCancelled(Event):
    order: Annotated[str, ORDER]


class FindOrders(Query[list[dict[str, Any]]]):
    customer: Text
    limit: Annotated[int, Field(ge=1, le=100)] = 10


def place(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    if command.customer == "Nobody":
        raise Rejected("Nobody places no orders", field="customer", code="nobody")
    details = command.model_dump(mode="json", exclude={"customer", "card"})
    yield OrderPlaced(order=past.new_id(), customer=command.customer, card=command.card, details=details)


def cancel(command: CancelOrder, past: Past) -> Iterator[OrderCancelled]:
    if not past.events(ORDER(command.order), of=OrderPlaced):
        raise Rejected("No such order")
    yield OrderCancelled(order=command.order)


def add(event: OrderPlaced, tables: Tables) -> None:
    tables.execute(
        "INSERT INTO orders (order_id, customer, card) VALUES (?, ?, ?)", (event.order, event.customer, event.card)
    )
    tables.execute("INSERT INTO customers VALUES (?, ?, NULL, x'0102')", (event.customer, event.order))


def remove(event: OrderCancelled, tables: Tables) -> None:
    if event.order == "poison":
        raise ValueError("this projection stops here")
    tables.execute("DELETE FROM orders WHERE order_id = ?", (event.order,))


def find(query: FindOrders, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all(
        "SELECT order_id, customer FROM orders WHERE customer = ? LIMIT ?", (query.customer, query.limit)
    )


TABLES = """
CREATE TABLE orders (order_id TEXT PRIMARY KEY, customer TEXT NOT NULL, card TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE customers (customer TEXT NOT NULL, "order" TEXT NOT NULL, note TEXT, picture BLOB);
CREATE VIEW busy AS SELECT customer, count(*) AS orders FROM orders GROUP BY customer;
"""

app = App(
    commands=[place, cancel],
    projections=[Projection("orders", version=1, tables=TABLES, on=[add, remove])],
    queries=[find],
    genesis=[OrderPlaced(order="poison", customer="Genesis", card="4000", details={})],
)
