"""The projection of orders."""

from dualbus import Tables
from examples.orders.messages import OrderCancelled, OrderPlaced, OrderShipped, PaymentReceived

TABLES = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;"

STATES: dict[type, str] = {PaymentReceived: "paid", OrderCancelled: "cancelled", OrderShipped: "shipped"}


def add_order(event: OrderPlaced, tables: Tables) -> None:
    tables.execute("INSERT INTO orders (id, state) VALUES (?, 'placed')", (event.order,))


def change_state(event: PaymentReceived | OrderCancelled | OrderShipped, tables: Tables) -> None:
    tables.execute("UPDATE orders SET state = ? WHERE id = ?", (STATES[type(event)], event.order))
