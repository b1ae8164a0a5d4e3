"""Writing a read model."""

from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from dualbus.application.tables import Values
from dualbus.log.identity import Identity
from dualbus.readmodel.file import (
    CHECKPOINT_TABLE,
    NotAllowed,
    ReadModelBusyError,
    unreadable,
)
from dualbus.readmodel.guard import WRITE_ACTIONS, Handle


class ReadModelWriter(Handle):
    """The read model opened by its only writer, the projector."""

    def __init__(self, path: Path, *, building: bool = False) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READWRITE, WRITE_ACTIONS)
        # A power cut may take the last commits, never a part of one: the log gives them again.
        # While a file is being built nobody reads it, and a cut means building again.
        try:
            self.own(f"PRAGMA synchronous = {'off' if building else 'normal'}")
        except apsw.Error as error:  # the first that looks into the file
            self.close()
            raise unreadable(path, error) from None

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def _rows(self, sql: str, values: Values) -> list[tuple[Any, ...]]:
        if not self.db.in_transaction:  # what is written now would stand, whatever becomes of the checkpoint
            raise NotAllowed(
                f"A statement before this one has rolled back the whole transaction: {sql!r} is not run."
            )
        return super()._rows(sql, values)

    def begin(self) -> None:
        """Begin a transaction."""
        try:
            self.own("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise ReadModelBusyError(f"The read model cannot be written: {error}.") from None

    def commit(self, position: int, hash_: bytes) -> None:
        """Commit the rows together with the checkpoint that says what they hold."""
        if not self.db.in_transaction:
            raise ReadModelBusyError(
                "The read model was not written: a projection's statement has rolled back all of it."
            )
        try:
            self.own(f"UPDATE {CHECKPOINT_TABLE} SET position = ?, hash = ?", (position, hash_))  # noqa: S608
            self.own("COMMIT")
        except apsw.Error as error:
            self.roll_back()
            raise ReadModelBusyError(f"The read model could not be written: {error}.") from None

    def adopt(self, identity: Identity) -> None:
        """Take a restored log, whose events up to the checkpoint are the same, for the one we follow."""
        self.own(f"UPDATE {CHECKPOINT_TABLE} SET log = ?, incarnation = ?", identity)  # noqa: S608

    def roll_back(self) -> None:
        """Undo what the transaction has done."""
        if self.db.in_transaction:
            self.own("ROLLBACK")

    def finish(self) -> None:
        """Bring everything into the file itself, durably, and close it, so that it can be renamed."""
        try:
            self.own("PRAGMA synchronous = full")
            self.own("PRAGMA wal_checkpoint(TRUNCATE)")
        except apsw.Error as error:
            raise ReadModelBusyError(f"{self.path} could not be finished: {error}.") from None
        self.close()
