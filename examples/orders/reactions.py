"""The process managers: an order reserves stock, waits for its payment, and is shipped or cancelled."""

from collections.abc import Iterator
from datetime import timedelta

from dualbus import Cancel, Later, Past, Rejected
from examples.orders.decisions import Order
from examples.orders.messages import (
    ORDER,
    CancelOrder,
    OrderCancelled,
    OrderPlaced,
    PaymentReceived,
    ReleaseStock,
    RequestPayment,
    ReserveStock,
    ShipOrder,
    StockReserved,
)

PATIENCE = timedelta(minutes=15)


def reserve(event: OrderPlaced, past: Past) -> Iterator[ReserveStock]:
    yield ReserveStock(order=event.order, item=event.item, count=event.count)


def ask_for_payment(event: StockReserved, past: Past) -> Iterator[RequestPayment | Later]:
    placed = past.fold(Order, ORDER(event.order)).placed
    if placed:
        yield RequestPayment(order=event.order, cents=placed.cents)
        cancel = CancelOrder(order=event.order, reason="not paid in time")
        yield Later(cancel, after=PATIENCE, name=f"unpaid/{event.order}")


def ship(event: PaymentReceived, past: Past) -> Iterator[Cancel | ShipOrder]:
    yield Cancel(f"unpaid/{event.order}")
    placed = past.fold(Order, ORDER(event.order)).placed
    if placed:
        yield ShipOrder(order=event.order, email=placed.email)


def release(event: OrderCancelled, past: Past) -> Iterator[Cancel | ReleaseStock]:
    yield Cancel(f"unpaid/{event.order}")
    order = past.fold(Order, ORDER(event.order))
    if order.placed and order.reserved:
        yield ReleaseStock(order=event.order, item=order.placed.item, count=order.placed.count)


def out_of_stock(command: ReserveStock, refused: Rejected, past: Past) -> Iterator[CancelOrder]:
    yield CancelOrder(order=command.order, reason=refused.errors[0])
