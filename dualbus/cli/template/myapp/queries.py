"""Answer queries from the read model."""

from dualbus import ReadOnlyTables

from myapp.messages import GetItem, Item, ListItems


def get_item(query: GetItem, tables: ReadOnlyTables) -> Item | None:
    return tables.one("SELECT id, name FROM items WHERE id = ?", (query.item_id,))


def list_items(query: ListItems, tables: ReadOnlyTables) -> list[Item]:
    return tables.all("SELECT id, name FROM items ORDER BY name LIMIT 100")
