"""An application that exists for the tests of problems, events and web routes: orders, and a rule of each kind."""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from dualbus import (
    App,
    Command,
    Email,
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

EMAIL = Tag("email")
ORDER = Tag("order")


class Line(BaseModel):
    item: Text
    amount: Annotated[int, Field(ge=1, le=99)]


class PlaceOrder(Command):
    order: UUID
    price: Decimal
    due: date
    lines: Annotated[list[Line], Field(min_length=1)]
    payment: Literal["card", "cash"] = "card"
    email: Email = "ada@example.org"

    def problems(self) -> Iterable[str | Problem]:
        if self.payment == "cash" and self.price > 100:
            yield Problem("Cash is for orders up to 100", field="payment", code="too_much_cash")
        if self.due.year < 2000:
            yield "Due must be in this century"


class CancelOrder(Command):
    order: UUID
    reason: Text = "none"


class OrderPlaced(Event):
    order: Annotated[UUID, ORDER]
    price: str
    email: Annotated[str, Private, EMAIL]


class OrderCancelled(Event):
    order: Annotated[UUID, ORDER]
    reason: str


class GetPrice(Query):
    order: UUID
    lines: list[Line] = Field(default_factory=list)


def place_order(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    if past.events(ORDER(command.order)):
        raise Rejected("The order is placed already", code="order_placed", field="order")
    if past.events(EMAIL(command.email)):
        raise Rejected("One order at a time", Problem("Email is already taken", field="email", code="email_taken"))
    yield OrderPlaced(order=command.order, price=str(command.price), email=command.email)


def cancel_order(command: CancelOrder, past: Past) -> Iterator[OrderCancelled]:
    if not past.events(ORDER(command.order)):
        raise Rejected("There is no such order")
    yield OrderCancelled(order=command.order, reason=command.reason)


def add_order(event: OrderPlaced, tables: Tables) -> None:
    tables.execute("INSERT INTO orders VALUES (?, ?)", (str(event.order), event.price))


def get_price(query: GetPrice, tables: ReadOnlyTables) -> object:
    row = tables.one("SELECT price FROM orders WHERE id = ?", (str(query.order),))
    return row and row["price"]


app = App(
    commands=[place_order, cancel_order],
    projections=[
        Projection(
            "orders",
            version=1,
            tables="CREATE TABLE orders (id TEXT PRIMARY KEY, price TEXT)",
            on=[add_order],
        )
    ],
    queries=[get_price],
)
