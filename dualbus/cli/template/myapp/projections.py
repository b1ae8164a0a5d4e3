"""Write events into the read model."""

from dualbus import Tables

from myapp.messages import ItemAdded

ITEMS_TABLE = "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL)"


def insert_item(event: ItemAdded, tables: Tables) -> None:
    tables.execute("INSERT INTO items (id, name) VALUES (?, ?)", (event.id, event.name))
