"""An application with mistakes: a type checker reports each line that ends with `# error`, and no other."""

from collections.abc import Iterator
from typing import Any

from dualbus import App, Client, Event, Past, Projection, ReadOnlyTables, Tables
from dualbus.testing import answer, decide
from tests.typing.shop import (
    ORDER,
    GetOrder,
    ListOrders,
    OrderCancelled,
    OrderPlaced,
    PlaceOrder,
    State,
    app,
)


def wrong_event(command: PlaceOrder, past: Past) -> Iterator[OrderCancelled]:
    yield OrderPlaced(order="1", price=command.price)  # error


def wrong_field(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    yield OrderPlaced(order_id="1", price=command.price)  # error


def missing_field(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    yield OrderPlaced(order="1")  # error


def wrong_attribute(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    yield OrderPlaced(order="1", price=command.prize)  # error


def wrong_tag(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    past.events("order")  # error
    past.events(ORDER)  # error
    past.events(ORDER(1.5))  # error
    past.events(order="1")  # error
    for cancelled in past.events(ORDER("1"), of=OrderCancelled):
        print(cancelled.price)  # error
    past.fold(OrderPlaced, ORDER("1"))  # error
    print(past.fold(State, ORDER("1")).weight)  # error
    yield OrderPlaced(order="1", price=command.price)


def wrong_result(query: GetOrder, tables: ReadOnlyTables) -> int:
    return tables.one("SELECT 1")  # error


def writes(query: GetOrder, tables: ReadOnlyTables) -> None:
    tables.execute("DELETE FROM orders")  # error


def no_event(command: PlaceOrder, past: Past) -> list[str]:
    return []


def wrong_tables(event: Event, tables: int) -> None: ...


def right(event: Event, tables: Tables) -> None: ...


App(commands=[no_event])  # error
App(commands={PlaceOrder: wrong_event})  # error
App(genesis=[PlaceOrder(item="a", price=1)])  # error
Projection("orders", version="1", tables="", on=[right])  # error
Projection("orders", version=1, tables="", on=[wrong_tables])  # error


def answers(client: Client) -> Any:
    order: str = client.query(GetOrder(order="1"))  # error
    print(client.query(GetOrder(order="1"))["price"])  # error
    print(client.query(ListOrders())[0]["prize"])  # error
    client.query(PlaceOrder(item="a", price=order))  # error
    client.command(GetOrder(order="1"))  # error
    decide(app, when=GetOrder(order="1"))  # error
    answer(app, when=PlaceOrder(item="a", price=1))  # error
