"""The queries of orders."""

from dualbus import ReadOnlyTables
from examples.orders.messages import GetOrder, OrderState


def get_order(query: GetOrder, tables: ReadOnlyTables) -> OrderState | None:
    row = tables.one('SELECT id AS "order", state FROM orders WHERE id = ?', (query.order,))
    return OrderState(order=row["order"], state=row["state"]) if row else None
