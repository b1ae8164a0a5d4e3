"""Rebuild a read model in a temporary folder and compare all rows with the live read model."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, Self

import apsw

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.error_text import one_line
from dualbus.application.immutable import own_event
from dualbus.application.messages import Event
from dualbus.application.recorded import Origins
from dualbus.log.contract import RecordedEvent
from dualbus.log.identity import Identity
from dualbus.readmodel.file import (
    COLUMN_NAMES,
    OBJECTS,
    Checkpoint,
    Damaged,
    ReadModelBusyError,
    create,
    quoted,
    read_projections,
)
from dualbus.readmodel.tables import CHECKPOINT_TABLE
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import application_errors
from dualbus.runtime.sqlite_errors import is_full
from dualbus.runtime.temporary import TemporaryFolder

CHUNK_EVENTS = 5000  # per transaction


class Comparison(NamedTuple):
    """The number of tables and rows compared."""

    tables: int
    rows: int


class Replay:
    """A read model rebuilt for comparison, without code of the projector, so that both cannot share a bug."""

    def __init__(self, app: App) -> None:
        self._folder = TemporaryFolder()
        self._path = self._folder.path / "read.db"
        self._on = app.subscribers
        create(self._path, app.projections, Identity("replay", ""))
        self._writer = ReadModelWriter(self._path, building=True)
        self._writer.begin()
        self.position = 0
        self.origins = Origins()  # of the commands of the log

    def apply(self, recorded: RecordedEvent, event: Event) -> None:
        """Apply the next event. Raises Damaged if a projection fails, ReadModelBusyError if the disk is full."""
        on = self._on.get(type(event), ())
        for subscriber in on:
            try:
                own = own_event(event) if len(on) > 1 else event
                subscriber.apply(own, self._writer, recorded, self.origins)
                self._writer.check_applied()
            except application_errors() as error:
                if isinstance(error, apsw.Error) and is_full(error):  # of the folder of the replay
                    raise ReadModelBusyError(f"{self._path} cannot be written ({one_line(error)})") from None
                raise Damaged(
                    f"Projection {subscriber.projection} raised {cause(error)} at position {recorded.position} "
                    f"({recorded.type}). The read model contains this event: correct the projection and raise its "
                    "version."
                ) from None
        self.position = recorded.position
        if self.position % CHUNK_EVENTS == 0:
            self._writer.commit(recorded.position, recorded.hash)
            self._writer.begin()

    def compare(self, actual: "ReadModelSnapshot") -> Comparison:
        """Compare table by table and row by row. Raises Damaged at the first difference."""
        self._writer.commit(self.position, b"")
        with ReadModelSnapshot(self._path) as expected:
            if expected.tables() != actual.tables() or not actual.has_projections_of(expected):
                raise Damaged(f"The schema of {actual.path} is not the schema of the projections.")
            counts = [_same_rows(table, expected, actual) for table in expected.compared_tables()]
        return Comparison(len(counts), sum(counts))

    def close(self) -> None:
        """Delete the folder."""
        self._writer.close()
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ReadModelSnapshot:
    """A snapshot of a read model, opened read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._db.set_busy_timeout(5000)
            self._db.execute("BEGIN")
            self.checkpoint = self._checkpoint()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None

    def _checkpoint(self) -> Checkpoint:
        row = self._db.execute(f"SELECT log, incarnation, position, hash FROM {CHECKPOINT_TABLE}").get  # noqa: S608
        if row is None or tuple(map(type, row)) != (str, str, int, bytes):
            raise Damaged(f"{self.path} has lost its checkpoint.")
        return Checkpoint(Identity(row[0], row[1]), row[2], row[3])

    def tables(self) -> list[tuple[Any, ...]]:
        """Return the schema: tables and indexes with their SQL."""
        return self._all(f"{OBJECTS} ORDER BY name")

    def has_projections_of(self, other: "ReadModelSnapshot") -> bool:
        """Return whether the recorded projections are those of another read model."""
        ours, theirs = read_projections(self._db), read_projections(other._db)
        known = all(theirs.keys() >= set(part.uses) for part in ours.values())
        return known and {name: part[:2] for name, part in ours.items()} == {
            name: part[:2] for name, part in theirs.items()
        }

    def compared_tables(self) -> list[str]:
        """Return the tables to compare, without the checkpoint and internal tables of SQLite modules."""
        names = self._all("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')")
        return sorted(name for (name,) in names if name not in (CHECKPOINT_TABLE, "sqlite_schema"))

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows ordered by key; a rowid without a column of its own is the first value."""
        columns = ", ".join(map(quoted, self.columns(table)))
        sql = f"SELECT {columns} FROM {quoted(table)} ORDER BY {self._key(table) or columns}"  # noqa: S608
        try:
            yield from self._db.execute(sql)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from None

    def _key(self, table: str) -> str:
        if self.columns(table)[0] == "rowid":
            return "rowid"
        key = self._all("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", table)
        return ", ".join(quoted(name) for (name,) in key)

    def columns(self, table: str) -> list[str]:
        """Return the column names of a table, with the implicit rowid, if any, which determines the default order.

        Tables of SQLite, such as sqlite_sequence, come without it: it depends on the order of writing their rows.
        """
        names = [name for (name,) in self._all(COLUMN_NAMES, table, "main")]
        sql = (
            "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT wr AND name = ? "
            "AND substr(name, 1, 7) <> 'sqlite_'"
        )
        has_rowid = self._all(sql, table) and "rowid" not in map(str.lower, names)
        return ["rowid", *names] if has_rowid else names

    def check_file(self) -> None:
        """Run SQLite's integrity check, which covers indexes and pages. Raises Damaged."""
        result = self._all("PRAGMA integrity_check(1)")[0][0]
        if result != "ok":
            raise Damaged(
                f"All rows of {self.path} are correct, but SQLite reports a damaged file ({one_line(result)})."
            )

    def _all(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()


def _same_rows(table: str, expected: ReadModelSnapshot, actual: ReadModelSnapshot) -> int:
    """Return the number of rows in a table; raise Damaged at the first difference."""
    count = 0
    for expected_row, actual_row in zip_longest(expected.rows(table), actual.rows(table)):
        count += 1
        if expected_row != actual_row or list(map(type, expected_row)) != list(map(type, actual_row)):
            difference = _difference(expected.columns(table), expected_row, actual_row)
            raise Damaged(f"Table {table}: row {count}, in key order, {difference} in {actual.path}.")
    return count


def _difference(columns: list[str], expected: tuple[Any, ...] | None, actual: tuple[Any, ...] | None) -> str:
    """Describe the difference of two rows without values, which may be private."""
    if expected is None or actual is None:
        return "is superfluous" if expected is None else "is missing"
    if expected[0] != actual[0]:
        return "is missing, or has another key than in the log"
    different = [
        name for name, *pair in zip(columns, expected, actual, strict=True) if repr(pair[0]) != repr(pair[1])
    ]
    return f"has wrong values in {', '.join(different)}"


def _unreadable(path: Path, error: Exception) -> Damaged | ReadModelBusyError:
    if is_full(error):  # for a -shm file or for sorted rows
        return ReadModelBusyError(f"{path} cannot be read ({one_line(error)})")
    return Damaged(f"{path} cannot be read ({one_line(error)}).")
