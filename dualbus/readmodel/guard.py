"""A read model, and what its statements may do."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from dualbus.application.tables import Interrupted, Row, Values
from dualbus.log.identity import Identity
from dualbus.readmodel.file import CHECKPOINT_TABLE, READ_CHECKPOINT, Checkpoint, Damaged, NotAllowed, unreadable

READ_ACTIONS = {
    apsw.SQLITE_SELECT,
    apsw.SQLITE_READ,
    apsw.SQLITE_FUNCTION,
    apsw.SQLITE_RECURSIVE,
}
WRITE_ACTIONS = READ_ACTIONS | {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}


class Handle:
    """What both handles share: reading, and a guard on what an author's statement may do."""

    def __init__(self, path: Path, flags: int, allowed: set[int]) -> None:
        self.path = path
        try:
            self.db = apsw.Connection(str(path), flags=flags, statementcachesize=256)
        except apsw.Error as error:
            raise Damaged(f"{path} cannot be opened ({error}).") from None
        self.db.set_busy_timeout(5000)
        self.db.authorizer = self._authorize
        self._allowed = allowed
        self._ours = False
        self._names: dict[str, tuple[str, ...]] = {}
        self.inode = path.stat().st_ino if path.exists() else 0

    def own(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement of ours, past the guard; return its first row, or None.

        The guard is asked when a statement is prepared, and an author's must never find ours prepared: it is
        kept under a flag that an author has no way to give.
        """
        self._ours = True
        try:
            return self.db.execute(sql, values, prepare_flags=apsw.SQLITE_PREPARE_PERSISTENT).get
        finally:
            self._ours = False

    def _authorize(self, action: int, first: str | None, *rest: str | None) -> int:
        if self._ours or (action == apsw.SQLITE_PRAGMA and first == "data_version"):  # which full-text search asks
            return apsw.SQLITE_OK
        if action not in self._allowed or (action not in READ_ACTIONS and first == CHECKPOINT_TABLE):
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        rows = self._rows(sql, values)
        names = self._names.get(sql) or self._learn(sql)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def one(self, sql: str, values: Values = ()) -> Row | None:
        rows = self._rows(sql, values)
        if not rows:
            return None
        names = self._names.get(sql) or self._learn(sql)
        return dict(zip(names, rows[0], strict=True))

    def _rows(self, sql: str, values: Values) -> list[tuple[Any, ...]]:
        try:
            return self.db.execute(sql, values).fetchall()
        except apsw.AuthError as error:
            raise NotAllowed(f"This handle may not do that: {sql!r} ({error}).") from None
        except apsw.InterruptError:
            raise Interrupted from None

    def _learn(self, sql: str) -> tuple[str, ...]:
        if len(self._names) >= 1000:
            self._names.clear()  # an application that builds its SQL from values: bounded, if slower
        names = tuple(column[0] for column in apsw.ext.query_info(self.db, sql).description)
        self._names[sql] = names
        return names

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint, in the current snapshot if there is one."""
        try:
            row = self.own(READ_CHECKPOINT)
        except apsw.Error as error:
            raise unreadable(self.path, error) from None
        if row is None:
            raise Damaged(f"{self.path} has lost its checkpoint.")
        return Checkpoint(Identity(row[0], row[1]), row[2], row[3])

    def replaced(self) -> bool:
        """Tell whether the path now holds another file than the one that is open here, or none."""
        try:
            return os.stat(self.path).st_ino != self.inode
        except OSError:
            return True

    def close(self) -> None:
        """Close the file."""
        self.db.close()
