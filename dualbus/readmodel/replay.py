"""A read model folded again, in a folder that goes away, and compared row by row with the live one."""

import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import apsw

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.error_text import one_line
from dualbus.application.messages import Event
from dualbus.log.contract import RecordedEvent
from dualbus.log.identity import Identity
from dualbus.readmodel.file import CHECKPOINT_TABLE, Checkpoint, Damaged, create
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import RAISED_UNDER_CTRL_C

CHUNK_EVENTS = 5000  # of one transaction


class Comparison(NamedTuple):
    """How much was found to be the same."""

    tables: int
    rows: int


class Replay:
    """Has no part of the projector in it, so that one does not repeat a mistake of the other."""

    def __init__(self, app: App) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dualbus-")
        self._path = Path(self._folder.name) / "read.db"
        self._on: dict[str, list[tuple[str, Any]]] = {}
        for projection in app.projections:
            for kind, function in projection.on.items():
                self._on.setdefault(kind.__name__, []).append((projection.name, function))
        create(self._path, app.projections, Identity("scratch", ""))
        self._writer = ReadModelWriter(self._path, building=True)
        self._writer.begin()
        self.position = 0

    def apply(self, recorded: RecordedEvent, event: Event) -> None:
        """Fold the next event. Raises Damaged if a projection does."""
        for name, function in self._on.get(type(event).__name__, ()):
            try:
                function(event, self._writer)
            except RAISED_UNDER_CTRL_C as error:
                raise Damaged(
                    f"Projection {name} raised {cause(error)} at position {recorded.position} ({recorded.type}). "
                    "The read model went past it once: correct the projection and raise its version."
                ) from None
        self.position = recorded.position
        if self.position % CHUNK_EVENTS == 0:
            self._writer.commit(recorded.position, recorded.hash)
            self._writer.begin()

    def compare(self, live: "ReadModelSnapshot") -> Comparison:
        """Compare table by table and row by row. Raises Damaged at the first difference."""
        self._writer.commit(self.position, b"")
        with ReadModelSnapshot(self._path) as ours:
            if ours.tables() != live.tables():
                raise Damaged(f"The tables of {live.path} are not those that the projections make.")
            found = [_same_rows(table, ours, live) for table in ours.compared()]
        return Comparison(len(found), sum(found))

    def close(self) -> None:
        """Take the folder away."""
        self._writer.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReadModelSnapshot:
    """One snapshot of a read model, opened so that it cannot be written."""

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
        """Return what the file says its tables and indexes are."""
        return self._all("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")

    def compared(self) -> list[str]:
        """Return the tables whose rows are compared: not the checkpoint, and not what a module keeps inside."""
        names = self._all("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')")
        return sorted(name for (name,) in names if name not in (CHECKPOINT_TABLE, "sqlite_schema"))

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows in the order of their keys; a key that has no column, SQLite's rowid, comes first."""
        columns = ", ".join(map(_quoted, self.columns(table)))
        sql = f"SELECT {columns} FROM {_quoted(table)} ORDER BY {self._key(table) or columns}"  # noqa: S608
        try:
            yield from self._db.execute(sql)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from None

    def _key(self, table: str) -> str:
        if self.columns(table)[0] == "rowid":
            return "rowid"
        key = self._all("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", table)
        return ", ".join(_quoted(name) for (name,) in key)

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns, with the rowid that a query may sort by without naming it."""
        names = [name for (name,) in self._all("SELECT name FROM pragma_table_info(?) ORDER BY cid", table)]
        sql = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT wr AND name = ?"
        has_rowid = self._all(sql, table) and "rowid" not in map(str.lower, names)
        return ["rowid", *names] if has_rowid else names

    def check_file(self) -> None:
        """Let SQLite check what rows do not show: indexes and pages. Raises Damaged."""
        said = self._all("PRAGMA integrity_check(1)")[0][0]
        if said != "ok":
            raise Damaged(f"Every row of {self.path} is right, and SQLite finds the file damaged ({one_line(said)}).")

    def _all(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()


def _same_rows(table: str, ours: ReadModelSnapshot, live: ReadModelSnapshot) -> int:
    """Count the rows of a table; raise Damaged at the first that is not the same in both."""
    count = 0
    for right, found in zip_longest(ours.rows(table), live.rows(table)):
        count += 1
        if right != found or list(map(type, right)) != list(map(type, found)):
            what = _difference(ours.columns(table), right, found)
            raise Damaged(f"Table {table}: row {count}, in the order of the key, {what} in {live.path}.")
    return count


def _difference(columns: list[str], right: tuple[Any, ...] | None, found: tuple[Any, ...] | None) -> str:
    """Say how a row differs, and no value: a key may be private too."""
    if right is None or found is None:
        return "is one too many" if right is None else "is missing"
    if right[0] != found[0]:
        return "is missing, or is not where the log puts it"
    differ = [name for name, one, other in zip(columns, right, found, strict=True) if repr(one) != repr(other)]
    return f"has another {', '.join(differ)} than the log gives it"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unreadable(path: Path, error: Exception) -> Damaged:
    return Damaged(f"{path} cannot be read ({one_line(error)}).")
