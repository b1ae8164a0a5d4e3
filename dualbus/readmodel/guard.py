"""The database handle of a read model, with a guard against forbidden statements."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from dualbus.application.tables import Interrupted, NotAllowed, Row, Values
from dualbus.log.identity import Identity
from dualbus.readmodel.file import READ_CHECKPOINT, Checkpoint, Damaged, unreadable
from dualbus.readmodel.tables import CHECKPOINT_TABLE
from dualbus.readmodel.values import bound

READ_ACTIONS = {
    apsw.SQLITE_SELECT,
    apsw.SQLITE_READ,
    apsw.SQLITE_FUNCTION,
    apsw.SQLITE_RECURSIVE,
}
WRITE_ACTIONS = READ_ACTIONS | {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}


class Handle:
    """The common part of all handles: reading, and the guard against forbidden statements of an application."""

    def __init__(self, path: Path, flags: int, allowed: set[int]) -> None:
        self.path = path
        try:
            self.db = apsw.Connection(str(path), flags=flags, statementcachesize=256)
        except apsw.Error as error:
            raise Damaged(f"{path} cannot be opened ({error}).") from None
        self.db.set_busy_timeout(5000)
        self._prepare()
        self._allowed = allowed
        self._guard_disabled = False
        self._names: dict[str, tuple[str, ...]] = {}
        self._touched: set[str] = set()  # the tables of the statements prepared last
        self.projection = ""  # whose function runs
        self.inode = path.stat().st_ino if path.exists() else 0

    def _prepare(self) -> None:
        self.db.authorizer = self._authorize
        self.db.convert_binding = bound

    def execute_internal(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement of dualbus without the guard; return the first row, or None.

        SQLite calls the guard when a statement is prepared. The flag separates these prepared statements in the
        cache from those of the application, which cannot set flags.
        """
        self._guard_disabled = True
        try:
            return self.db.execute(sql, values, prepare_flags=apsw.SQLITE_PREPARE_PERSISTENT).get
        finally:
            self._guard_disabled = False

    def _authorize(self, action: int, first: str | None, *rest: str | None) -> int:
        if self._guard_disabled or (
            action == apsw.SQLITE_PRAGMA and first == "data_version"
        ):  # read by full-text search
            return apsw.SQLITE_OK
        if action not in self._allowed or (action not in READ_ACTIONS and first == CHECKPOINT_TABLE):
            return apsw.SQLITE_DENY
        if first:
            self._touched.add(first)
        return apsw.SQLITE_OK

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        rows = self._rows(sql, values)
        names = self._column_names(sql)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def one(self, sql: str, values: Values = ()) -> Row | None:
        rows = self._rows(sql, values)
        names = self._column_names(sql)
        if not rows:
            return None
        return dict(zip(names, rows[0], strict=True))

    def _rows(self, sql: str, values: Values, *, can_cache: bool = True) -> list[tuple[Any, ...]]:
        try:
            return self.db.execute(sql, values, can_cache=can_cache).fetchall()
        except apsw.AuthError as error:
            raise NotAllowed(f"This handle does not allow {sql!r} ({error}).") from None
        except apsw.InterruptError:
            raise Interrupted from None

    def _column_names(self, sql: str) -> tuple[str, ...]:
        if (known := self._names.get(sql)) is not None:
            return known
        if len(self._names) >= 1000:
            self._names.clear()  # the cache must stay bounded if an application builds SQL from values
        names = tuple(column[0] for column in apsw.ext.query_info(self.db, sql).description)
        for name in names:
            if names.count(name) > 1:
                raise NotAllowed(f"{sql!r} has several columns with the name {name}: name each with AS.")
        self._names[sql] = names
        return names

    def check_applied(self) -> None:
        """Raise NotAllowed if a function of a projection has ended the transaction or left a foreign key violated.

        SQLite reports a deferred foreign key at the commit only, which is that of many events.
        """
        if not self.db.in_transaction:
            raise NotAllowed(
                "A statement has rolled back the whole transaction, with the rows of earlier events: do not use "
                "OR ROLLBACK or RAISE(ROLLBACK)."
            )
        if self.db.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise NotAllowed(
                "A deferred foreign key refers to a row that does not exist: insert this row in the same function, "
                "or leave out the foreign key."
            )

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint, in the current snapshot if there is one."""
        try:
            row = self.execute_internal(READ_CHECKPOINT)
        except apsw.Error as error:
            raise unreadable(self.path, error) from None
        if row is None:
            raise Damaged(f"{self.path} has lost its checkpoint.")
        return Checkpoint(Identity(row[0], row[1]), row[2], row[3])

    def replaced(self) -> bool:
        """Return whether the open file was replaced or deleted."""
        try:
            return os.stat(self.path).st_ino != self.inode
        except OSError:
            return True

    def close(self) -> None:
        """Close the file."""
        self.db.close()
