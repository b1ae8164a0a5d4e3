"""Compares the rows of two read models at one position."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from dualbus.application.tables import Row
from dualbus.readmodel.file import COLUMN_NAMES, READ_CHECKPOINT, quoted, unreadable
from dualbus.readmodel.tables import CHECKPOINT_TABLE

SHOWN_ROWS_MAX = 3


class TableDifference(NamedTuple):
    """The differences of one table: numbers of rows, and the first rows that only one side has."""

    table: str
    rows_before: int | None  # None: only the new read model has the table
    rows_after: int | None
    only_before: int
    only_after: int
    columns: list[str]  # that only one side has; the rows are compared without these
    first_before: list[Row]
    first_after: list[Row]


class Comparison:
    """A snapshot of an earlier read model, for a comparison with a new one that has reached its position."""

    def __init__(self, before: Path, after: Path) -> None:
        try:
            self._db = apsw.Connection(str(after), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
            self._db.execute("ATTACH ? AS before", (f"{before.absolute().as_uri()}?mode=ro",))
            self._db.execute("BEGIN")
            row: Any = self._db.execute(READ_CHECKPOINT.replace(CHECKPOINT_TABLE, f"before.{CHECKPOINT_TABLE}")).get
        except apsw.Error as error:
            raise unreadable(before, error) from None
        self.position: int = row[2]

    def differences(self) -> Iterator[TableDifference]:
        """Yield the differences of each table."""
        before, after = self._tables("before"), self._tables("main")
        for table in sorted(before | after):
            yield self._difference(table) if table in before & after else self._one_sided(table, table in before)

    def close(self) -> None:
        """Release the snapshot."""
        self._db.close()

    def _tables(self, schema: str) -> set[str]:
        sql = "SELECT name FROM pragma_table_list WHERE schema = ? AND type IN ('table', 'virtual')"
        names = {str(name) for (name,) in self._db.execute(sql, (schema,))}
        return {name for name in names if name != CHECKPOINT_TABLE and not name.startswith("sqlite_")}

    def _columns(self, schema: str, table: str) -> list[str]:
        return [str(name) for (name,) in self._db.execute(COLUMN_NAMES, (table, schema))]

    def _count(self, sql: str) -> int:
        count: Any = self._db.execute(f"SELECT count(*) FROM ({sql})").get  # noqa: S608
        return int(count)

    def _one_sided(self, table: str, before: bool) -> TableDifference:
        count = self._count(f"SELECT * FROM {'before' if before else 'main'}.{quoted(table)}")  # noqa: S608
        if before:
            return TableDifference(table, count, None, count, 0, [], [], [])
        return TableDifference(table, None, count, 0, count, [], [], [])

    def _difference(self, table: str) -> TableDifference:
        before, after = self._columns("before", table), self._columns("main", table)
        common = [name for name in after if name in before]
        surplus = _surplus(table, common)
        only_before, only_after = self._surplus_counts(surplus)
        return TableDifference(
            table,
            self._count(f"SELECT 1 FROM before.{quoted(table)}"),  # noqa: S608
            self._count(f"SELECT 1 FROM main.{quoted(table)}"),  # noqa: S608
            only_before,
            only_after,
            [name for name in (*before, *after) if name not in common],
            self._first(surplus, "< 0", common) if only_before else [],
            self._first(surplus, "> 0", common) if only_after else [],
        )

    def _surplus_counts(self, surplus: str) -> tuple[int, int]:
        """Return how many rows only the earlier side has, and how many only the new side."""
        row: Any = self._db.execute(
            f"SELECT total(max(-surplus, 0)), total(max(surplus, 0)) FROM ({surplus})"  # noqa: S608
        ).get
        return int(row[0]), int(row[1])

    def _first(self, surplus: str, which: str, columns: list[str]) -> list[Row]:
        if not columns:
            return []
        sql = f"SELECT * FROM ({surplus}) WHERE surplus {which} LIMIT {SHOWN_ROWS_MAX}"  # noqa: S608
        rows = self._db.execute(sql).fetchall()
        return [dict(zip(columns, row[:-1], strict=True)) for row in rows]


def _surplus(table: str, columns: list[str]) -> str:
    """Return a query for each different row of both sides, with the number by which the new side has more of it.

    As for verify, 1 and 1.0 are different, and so are texts that only the collation of a column takes for equal.
    """
    names = [f"v{number}" for number, _ in enumerate(columns)]
    values = "".join(f"{quoted(column)} AS {name}, " for column, name in zip(columns, names, strict=True))
    sides = " UNION ALL ".join(
        f"SELECT {values}{side} AS side FROM {schema}.{quoted(table)}"  # noqa: S608
        for schema, side in (("before", -1), ("main", 1))
    )
    exact = ", ".join(f"typeof({name}), {name} COLLATE BINARY" for name in names) or "NULL"
    shown = "".join(f"{name}, " for name in names)
    return f"SELECT {shown}sum(side) AS surplus FROM ({sides}) GROUP BY {exact}"  # noqa: S608
