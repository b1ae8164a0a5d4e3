"""An application without mistakes, as an author writes it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Self, TypedDict

from dualbus import (
    App,
    AsyncClient,
    Client,
    Command,
    Event,
    Past,
    Projection,
    Query,
    ReadOnlyTables,
    Recorded,
    Rejected,
    Tables,
    Tag,
    Text,
)
from dualbus.testing import answer, decide

ORDER = Tag("order")


class PlaceOrder(Command):
    item: Text
    price: Decimal


class CancelOrder(Command):
    order: Text


class OrderPlaced(Event):
    order: Annotated[str, ORDER]
    price: Decimal


class OrderCancelled(Event):
    order: Annotated[str, ORDER]


class Order(TypedDict):
    order: str
    price: str


class GetOrder(Query[Order | None]):
    order: Text


class ListOrders(Query[list[Order]]):
    pass


@dataclass(frozen=True)
class State:
    price: Decimal | None = None

    def apply(self, event: OrderPlaced | OrderCancelled) -> Self:
        return replace(self, price=event.price if isinstance(event, OrderPlaced) else None)


def place_order(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    yield OrderPlaced(order=past.new_id(), price=command.price)


def cancel_order(command: CancelOrder, past: Past) -> Iterator[OrderCancelled]:
    if past.fold(State, ORDER(command.order)).price is None:
        raise Rejected("Order does not exist")
    for placed in past.events(ORDER(command.order), of=OrderPlaced):
        assert placed.price
    yield OrderCancelled(order=command.order)


def add_order(event: OrderPlaced, tables: Tables) -> None:
    tables.execute("INSERT INTO orders VALUES (?, ?)", (event.order, str(event.price)))


def remove_order(event: OrderCancelled, tables: Tables, recorded: Recorded) -> None:
    tables.execute("DELETE FROM orders WHERE id = ? AND ? > 0", (event.order, recorded.position))


def get_order(query: GetOrder, tables: ReadOnlyTables) -> Order | None:
    return tables.one("SELECT id AS order_, price FROM orders WHERE id = ?", (query.order,))


def list_orders(query: ListOrders, tables: ReadOnlyTables) -> list[Order]:
    return tables.all("SELECT * FROM orders")


app = App(
    commands=[place_order, cancel_order],
    projections=[Projection("orders", version=1, tables="", on=[add_order, remove_order])],
    queries=[get_order, list_orders],
)


def prices(client: Client) -> list[str]:
    order = client.query(GetOrder(order="1"))
    listed = client.query(ListOrders())
    return [each["price"] for each in listed] + ([order["price"]] if order else [])


async def later(client: AsyncClient) -> str | None:
    order = await client.query(GetOrder(order="1"))
    return order["price"] if order else None


def test_prices() -> None:
    [placed] = decide(app, when=PlaceOrder(item="lamp", price=Decimal(1)))
    found = answer(app, given=[placed], when=ListOrders())
    assert found[0]["price"] == "1"
