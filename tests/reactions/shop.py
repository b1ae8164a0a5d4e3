"""A shop for the tests: orders that are paid, shipped, or cancelled by a timer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, Self

from dualbus import (
    App,
    Cancel,
    Command,
    Event,
    Every,
    Later,
    Past,
    Projection,
    Query,
    Reaction,
    Rejected,
    Tables,
    Tag,
)
from dualbus import ReadOnlyTables as Rows

ORDER = Tag("order")


class PlaceOrder(Command):
    order: str
    amount: int = 1
    seconds: float = 900


class RequestPayment(Command):
    order: str
    amount: int


class ReceivePayment(Command):
    order: str


class ShipOrder(Command):
    order: str


class CancelOrder(Command):
    order: str
    reason: str = "unpaid"


class OrderEvent(Event):
    order: Annotated[str, ORDER]


class OrderPlaced(OrderEvent):
    amount: int
    seconds: float


class PaymentRequested(OrderEvent):
    amount: int


class PaymentReceived(OrderEvent):
    pass


class OrderShipped(OrderEvent):
    pass


class OrderCancelled(OrderEvent):
    reason: str


@dataclass(frozen=True)
class Order:
    placed: bool = False
    paid: bool = False
    closed: bool = False
    requests: int = 0

    def apply(self, event: OrderEvent) -> Self:
        match event:
            case OrderPlaced():
                return replace(self, placed=True)
            case PaymentRequested():
                return replace(self, requests=self.requests + 1)
            case PaymentReceived():
                return replace(self, paid=True)
        return replace(self, closed=True)


def place(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    if past.fold(Order, ORDER(command.order)).placed:
        raise Rejected("The order exists")
    yield OrderPlaced(order=command.order, amount=command.amount, seconds=command.seconds)


def request_payment(command: RequestPayment, past: Past) -> Iterator[PaymentRequested]:
    if command.amount > 1000:
        raise Rejected("The amount is too large", code="too_large")
    yield PaymentRequested(order=command.order, amount=command.amount)


def receive_payment(command: ReceivePayment, past: Past) -> Iterator[PaymentReceived]:
    if past.fold(Order, ORDER(command.order)).closed:
        raise Rejected("The order is closed")
    yield PaymentReceived(order=command.order)


def ship_order(command: ShipOrder, past: Past) -> Iterator[OrderShipped]:
    if past.fold(Order, ORDER(command.order)).closed:
        raise Rejected("The order is closed")
    yield OrderShipped(order=command.order)


def cancel_order(command: CancelOrder, past: Past) -> Iterator[OrderCancelled]:
    order = past.fold(Order, ORDER(command.order))
    if order.paid or order.closed:
        raise Rejected("The order is paid or closed")
    yield OrderCancelled(order=command.order, reason=command.reason)


def ask_for_payment(event: OrderPlaced, past: Past) -> Iterator[RequestPayment | Later]:
    yield RequestPayment(order=event.order, amount=event.amount)
    yield Later(CancelOrder(order=event.order), after=timedelta(seconds=event.seconds), name=f"unpaid/{event.order}")


def ship(event: PaymentReceived, past: Past) -> Iterator[ShipOrder | Cancel]:
    yield Cancel(f"unpaid/{event.order}")
    if past.fold(Order, ORDER(event.order)).requests:
        yield ShipOrder(order=event.order)


def payment_refused(command: RequestPayment, refused: Rejected, past: Past) -> Iterator[CancelOrder | Cancel]:
    yield Cancel(f"unpaid/{command.order}")
    yield CancelOrder(order=command.order, reason=refused.problems[0].code)


def list_event(event: OrderEvent, tables: Tables) -> None:
    tables.execute("INSERT INTO facts (name, type) VALUES (?, ?)", (event.order, type(event).__name__))


class ListFacts(Query[list[str]]):
    order: str


def list_facts(query: ListFacts, tables: Rows) -> list[str]:
    return [str(row["type"]) for row in tables.all("SELECT type FROM facts WHERE name = ?", (query.order,))]


COMMANDS: list[Any] = [place, request_payment, receive_payment, ship_order, cancel_order]
FACTS = Projection("facts", version=1, tables="CREATE TABLE facts (name TEXT, type TEXT) STRICT", on=[list_event])
ORDERS = Reaction("orders", on=[ask_for_payment, ship], since="beginning", on_refused=[payment_refused])

CLEANING = Reaction("cleaning", on=[Every("0 3 1 1 *", CancelOrder(order="old"))], since="now")
cleaned = App(commands=COMMANDS, projections=[FACTS], reactions=[CLEANING])

app = App(commands=COMMANDS, projections=[FACTS], queries=[list_facts], reactions=[ORDERS])
