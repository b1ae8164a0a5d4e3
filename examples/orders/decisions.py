"""The decisions of the commands: stock is never negative, and an order is shipped or cancelled, not both."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from dualbus import Past, Rejected
from examples.orders.messages import (
    ITEM,
    ORDER,
    AddStock,
    CancelOrder,
    ConfirmPayment,
    OrderCancelled,
    OrderPlaced,
    OrderShipped,
    PaymentReceived,
    PaymentRequested,
    PlaceOrder,
    ReleaseStock,
    RequestPayment,
    ReserveStock,
    ShipOrder,
    StockAdded,
    StockReleased,
    StockReserved,
)


@dataclass(frozen=True)
class Order:
    """The state of an order for its rules."""

    placed: OrderPlaced | None = None
    reserved: bool = False
    paid: bool = False
    closed: str = ""

    def apply(self, event: OrderPlaced | StockReserved | PaymentReceived | OrderCancelled | OrderShipped) -> Self:
        match event:
            case OrderPlaced():
                return replace(self, placed=event)
            case StockReserved():
                return replace(self, reserved=True)
            case PaymentReceived():
                return replace(self, paid=True)
            case OrderCancelled():
                return replace(self, closed="cancelled")
            case OrderShipped():
                return replace(self, closed="shipped")


@dataclass(frozen=True)
class Stock:
    """The available stock of an item."""

    count: int = 0

    def apply(self, event: StockAdded | StockReserved | StockReleased) -> Self:
        return replace(self, count=self.count + (-event.count if isinstance(event, StockReserved) else event.count))


def add_stock(command: AddStock, past: Past) -> Iterator[StockAdded]:
    yield StockAdded(item=command.item, count=command.count)


def place_order(command: PlaceOrder, past: Past) -> Iterator[OrderPlaced]:
    if past.fold(Order, ORDER(command.order)).placed:
        raise Rejected(f"Order {command.order} exists", field="order", code="exists")
    yield OrderPlaced(**command.model_dump())


def reserve_stock(command: ReserveStock, past: Past) -> Iterator[StockReserved]:
    if past.fold(Stock, ITEM(command.item)).count < command.count:
        raise Rejected(f"There are not {command.count} of {command.item}", code="out_of_stock")
    yield StockReserved(order=command.order, item=command.item, count=command.count)


def release_stock(command: ReleaseStock, past: Past) -> Iterator[StockReleased]:
    yield StockReleased(order=command.order, item=command.item, count=command.count)


def request_payment(command: RequestPayment, past: Past) -> Iterator[PaymentRequested]:
    _open_order(past, command.order)
    yield PaymentRequested(order=command.order, cents=command.cents)


def confirm_payment(command: ConfirmPayment, past: Past) -> Iterator[PaymentReceived]:
    if _open_order(past, command.order).paid:
        raise Rejected(f"Order {command.order} is already paid")
    yield PaymentReceived(order=command.order, payment=command.payment)


def cancel_order(command: CancelOrder, past: Past) -> Iterator[OrderCancelled]:
    if _open_order(past, command.order).paid:
        raise Rejected(f"Order {command.order} is already paid")
    yield OrderCancelled(order=command.order, reason=command.reason)


def ship_order(command: ShipOrder, past: Past) -> Iterator[OrderShipped]:
    _open_order(past, command.order)
    yield OrderShipped(order=command.order, email=command.email, at=past.now())


def _open_order(past: Past, order_id: str) -> Order:
    order = past.fold(Order, ORDER(order_id))
    if not order.placed:
        raise Rejected(f"There is no order {order_id}")
    if order.closed:
        raise Rejected(f"Order {order_id} is {order.closed}")
    return order
