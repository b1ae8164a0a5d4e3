"""Compares the rows of two read models at one position."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from dualbus.application.tables import Row
from dualbus.readmodel.file import CHECKPOINT_TABLE, COLUMN_NAMES, READ_CHECKPOINT, quoted, unreadable

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
            self._db.execute("ATTACH ? AS before", (f"file:{before}?mode=ro",))
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
        columns = ", ".join(map(quoted, common)) or "1"
        old = f"SELECT {columns} FROM before.{quoted(table)}"  # noqa: S608
        new = f"SELECT {columns} FROM main.{quoted(table)}"  # noqa: S608
        only_old, only_new = f"{old} EXCEPT {new}", f"{new} EXCEPT {old}"
        return TableDifference(
            table,
            self._count(old),
            self._count(new),
            self._count(only_old),
            self._count(only_new),
            [name for name in (*before, *after) if name not in common],
            self._first(only_old, common),
            self._first(only_new, common),
        )

    def _first(self, sql: str, columns: list[str]) -> list[Row]:
        rows = self._db.execute(f"{sql} LIMIT {SHOWN_ROWS_MAX}").fetchall()
        return [dict(zip(columns, row, strict=True)) for row in rows]
