"""Answer queries from the read model."""

from typing import Any

from dualbus import ReadOnlyTables

from myapp.messages import GetItem, ListItems


def get_item(query: GetItem, tables: ReadOnlyTables) -> dict[str, Any] | None:
    return tables.one("SELECT id, name FROM items WHERE id = ?", (query.item_id,))


def list_items(query: ListItems, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all("SELECT id, name FROM items ORDER BY name LIMIT 100")
