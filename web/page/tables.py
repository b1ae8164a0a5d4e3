"""The tables of the read model, opened read-only: names, columns and pages of rows."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from dualbus.application.app import App, Projection
from dualbus.application.messages import private_fields, tag_fields
from dualbus.application.tables import Interrupted, NotAllowed
from dualbus.readmodel.file import Damaged, file_name, folded, quoted, read_projections
from dualbus.readmodel.reader import ReadModelReader

from ..problems import Problem

READ_SECONDS = 1.0
WAIT_SECONDS, CHECK_SECONDS = 1.0, 0.01  # for the position of the session
_COLUMNS = "SELECT json_group_array(name) FROM pragma_table_xinfo(?) WHERE hidden <> 1"
_SHOWN_KINDS = ("table", "view")


class Table(NamedTuple):
    """A table or a view of a projection."""

    name: str
    projection: str
    columns: tuple[str, ...]
    private: frozenset[str]  # columns with the name of a private field: not shown
    tags: dict[str, str]  # the tag of the values of a column


class Rows(NamedTuple):
    """A page of rows. `position` is the position of the read model."""

    table: Table
    rows: list[list[Any]]
    more: bool
    position: int


class ReadModelTables:
    """Reads the read model. All methods belong to one thread."""

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._path = folder / file_name(app.projections)
        self._reader: ReadModelReader | None = None

    def position(self) -> int | None:
        """Return the position of the read model; None without a readable file."""
        try:
            return self._open().checkpoint().position
        except (Problem, Damaged):
            return None

    def tables(self) -> list[Table]:
        """Return all tables and views. Raises Problem."""
        reader = self._open()
        found = []
        try:
            stored = read_projections(reader.db)
            for projection in self._app.projections:
                part = stored.get(projection.name)
                names = sorted(name for kind, name in part.objects if kind in _SHOWN_KINDS) if part else []
                found += [self._table(reader, projection, name) for name in names]
        except Damaged as error:
            raise Problem(503, str(error)) from None
        return found

    def rows(self, name: str, where: tuple[str, str] | None, offset: int, limit: int, after: int) -> Rows:
        """Return rows of a table, of all or with a value in a column. Raises Problem.

        The rows include the changes up to the position `after`; the position shows a read model behind it.
        """
        table = next((table for table in self.tables() if table.name == folded(name)), None)
        if table is None:
            raise Problem(404, f"The read model has no table {name[:100]!r}.")
        reader = self._open()
        columns = [column for column in table.columns if column not in table.private]
        if where and where[0] not in columns:
            raise Problem(400, f"Table {table.name} has no column {where[0][:100]!r}.")
        selected = ", ".join(map(quoted, columns)) or "NULL"
        condition = f" WHERE {quoted(where[0])} = ?" if where else ""
        sql = f"SELECT {selected} FROM {quoted(table.name)}{condition} LIMIT ? OFFSET ?"  # noqa: S608
        values: list[str | int] = [*([where[1]] if where else []), limit + 1, offset]
        reader.deadline = time.monotonic() + READ_SECONDS + WAIT_SECONDS
        try:
            position = self._begin(reader, after)
            found = [list(row.values()) for row in reader.all(sql, values)] if columns else []
        except Interrupted:
            raise Problem(503, f"The rows were not read within {READ_SECONDS:g} s: search for a value.") from None
        except (Damaged, NotAllowed) as error:
            raise Problem(503, str(error)) from None
        finally:
            reader.end()
        return Rows(table, found[:limit], len(found) > limit, position)

    def _begin(self, reader: ReadModelReader, after: int) -> int:
        """Begin a snapshot at the position `after`, or at an earlier position if the read model is late."""
        stop_at = time.monotonic() + WAIT_SECONDS
        while (position := reader.begin().position) < after and time.monotonic() < stop_at:
            reader.end()
            time.sleep(CHECK_SECONDS)
        return position

    def _table(self, reader: ReadModelReader, projection: Projection, name: str) -> Table:
        columns = tuple(json.loads(reader.execute_internal(_COLUMNS, (name,))))
        private: set[str] = set()
        tags: dict[str, str] = {}
        for event in projection.event_names():
            kind = self._app.event_types.get(event)
            if kind is None:
                continue
            private |= {field.lower() for field in private_fields(kind)}
            public_tags = [(field, tag) for field, tag in tag_fields(kind) if field not in private_fields(kind)]
            tags |= {word: tag for field, tag in public_tags for word in (field, tag)}
        hidden = frozenset(column for column in columns if column.lower() in private)
        return Table(name, projection.name, columns, hidden, {name: tags[name] for name in columns if name in tags})

    def _open(self) -> ReadModelReader:
        if self._reader and self._reader.replaced():
            self._reader.close()
            self._reader = None
        if self._reader is None:
            if not self._path.exists():
                raise Problem(503, "The projector has not built the read model yet: start it, or wait for its end.")
            try:
                self._reader = ReadModelReader(self._path)
            except Damaged as error:
                raise Problem(503, str(error)) from None
        return self._reader
