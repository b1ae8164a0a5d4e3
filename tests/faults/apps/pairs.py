"""Two tables that every event changes together, and a query that reads both, one after the other."""

from collections.abc import Iterator
from typing import Annotated, Any

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Tag, Text


class Put(Command):
    name: Text
    value: int


class WasPut(Event):
    name: Annotated[str, Tag("pair")]
    value: int


class Pair(Query):
    name: Text


def put(command: Put, past: Past) -> Iterator[WasPut]:
    yield WasPut(name=command.name, value=command.value)


def set_both(event: WasPut, tables: Tables) -> None:
    for side in ("left_side", "right_side"):
        tables.execute(f"INSERT OR REPLACE INTO {side} VALUES (?, ?)", (event.name, event.value))
        tables.execute(f"INSERT INTO {side} VALUES ('', 1) ON CONFLICT DO UPDATE SET value = value + 1")


def pair(query: Pair, tables: ReadOnlyTables) -> dict[str, Any]:
    """Read one side, take a moment, read the other: rows named so, and how many events made each side."""
    sql = (
        "SELECT coalesce(max(value) FILTER (WHERE name = ?), 0) AS value, sum(value) FILTER (WHERE name = '') AS all_"
    )
    left = tables.one(f"{sql} FROM left_side", (query.name,))
    tables.one("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT max(i) FROM n")
    return {"left": left, "right": tables.one(f"{sql} FROM right_side", (query.name,))}


_TABLE = "CREATE TABLE {} (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
TABLES = _TABLE.format("left_side") + _TABLE.format("right_side")

app = App(
    commands=[put],
    projections=[Projection("sides", version=1, tables=TABLES, on=[set_both])],
    queries=[pair],
)
