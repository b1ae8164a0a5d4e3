"""The messages about orders, stock and payments. Amounts are integers, in cents."""

from datetime import datetime
from typing import Annotated, TypedDict

from pydantic import Field

from dualbus import Command, Email, Event, Private, Query, Tag, Text

ORDER = Tag("order")
ITEM = Tag("item")

Count = Annotated[int, Field(ge=1, le=1000)]
Cents = Annotated[int, Field(ge=1, le=100_000_000)]


class AddStock(Command):
    item: Text
    count: Count


class PlaceOrder(Command):
    order: Text
    item: Text
    count: Count = 1
    cents: Cents
    email: Email


class ReserveStock(Command):
    order: str
    item: str
    count: int


class RequestPayment(Command):
    order: str
    cents: int


class ConfirmPayment(Command):
    order: Text
    payment: Text


class CancelOrder(Command):
    order: Text
    reason: Text


class ShipOrder(Command):
    order: str
    email: str


class ReleaseStock(Command):
    order: str
    item: str
    count: int


class StockAdded(Event):
    item: Annotated[str, ITEM]
    count: int


class OrderPlaced(Event):
    order: Annotated[str, ORDER]
    item: str
    count: int
    cents: int
    email: Annotated[str, Private]


class StockReserved(Event):
    order: Annotated[str, ORDER]
    item: Annotated[str, ITEM]
    count: int


class StockReleased(Event):
    order: Annotated[str, ORDER]
    item: Annotated[str, ITEM]
    count: int


class PaymentRequested(Event):
    order: Annotated[str, ORDER]
    cents: int


class PaymentReceived(Event):
    order: Annotated[str, ORDER]
    payment: str


class OrderCancelled(Event):
    order: Annotated[str, ORDER]
    reason: str


class OrderShipped(Event):
    order: Annotated[str, ORDER]
    email: Annotated[str, Private]
    at: datetime


class OrderState(TypedDict):
    order: str
    state: str


class GetOrder(Query[OrderState | None]):
    order: Text
