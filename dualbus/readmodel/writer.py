"""The writer of a read model."""

import json
from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from dualbus.application.tables import NotAllowed, Values
from dualbus.log.identity import Identity
from dualbus.readmodel.file import Damaged, ReadModelBusyError, Stored, folded, read_projections, unreadable
from dualbus.readmodel.functions import refuse_nondeterministic
from dualbus.readmodel.guard import WRITE_ACTIONS, Handle
from dualbus.readmodel.tables import CHECKPOINT_TABLE
from dualbus.runtime.files import sync_file, usable
from dualbus.runtime.sqlite_errors import is_damaged

STATEMENTS_KNOWN_MAX = 1000  # an application may build SQL from values


class ReadModelWriter(Handle):
    """The read model, opened by its only writer, the projector."""

    def __init__(self, path: Path, *, building: bool = False) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READWRITE, WRITE_ACTIONS)
        # A power cut may lose the last commits, never a part of a commit; the projector applies these events again.
        # A file that is being built has no readers; after a power cut, the projector builds the file again.
        try:
            self.execute_internal("PRAGMA foreign_keys = ON")
            refuse_nondeterministic(self.db)
            self.execute_internal(f"PRAGMA synchronous = {'off' if building else 'normal'}")
            self._guard_disabled = True
            self._stored = read_projections(self.db)
            self._guard_disabled = False
        except apsw.Error as error:  # the first statement that reads the file
            self.close()
            raise unreadable(path, error) from None
        self._owners = {name: owner for owner, part in self._stored.items() for _, name in part.objects}
        self._uses_changed = False
        self._known: set[tuple[str, str]] = set()  # a projection, and a statement with known tables

    @property
    def projections(self) -> dict[str, Stored]:
        """The projections of this read model by name."""
        return self._stored

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def _rows(self, sql: str, values: Values, *, can_cache: bool = True) -> list[tuple[Any, ...]]:
        if not self.db.in_transaction:  # without a transaction, rows would be committed without the checkpoint
            raise NotAllowed(f"An earlier statement has rolled back the whole transaction: {sql!r} is not executed.")
        try:
            return self._noted(sql, values)
        except apsw.Error as error:
            if is_damaged(error):
                raise unreadable(self.path, error) from None
            raise

    def _noted(self, sql: str, values: Values) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, and note the tables that it uses."""
        if (self.projection, sql) in self._known:
            return super()._rows(sql, values)
        self._touched.clear()
        try:
            rows = super()._rows(sql, values, can_cache=False)  # SQLite calls the guard when a statement is prepared
        finally:  # a statement can fail because of the rows of another projection
            self._note_uses()
        if len(self._known) >= STATEMENTS_KNOWN_MAX:
            self._known.clear()
        self._known.add((self.projection, sql))
        return rows

    def _note_uses(self) -> None:
        """Note the projections whose tables the running projection has used: they are copied or built together."""
        part = self._stored.get(self.projection)
        for table in self._touched:
            owner = self._owners.get(folded(table), self.projection)
            if part and owner != self.projection and owner not in part.uses:
                part.uses.append(owner)
                self._uses_changed = True

    def begin(self) -> None:
        """Begin a transaction."""
        try:
            self.execute_internal("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise self._failure("The read model cannot be written", error) from None

    def commit(self, position: int, hash_: bytes) -> None:
        """Commit the rows together with the checkpoint."""
        try:
            self.execute_internal(f"UPDATE {CHECKPOINT_TABLE} SET position = ?, hash = ?", (position, hash_))  # noqa: S608
            if self._uses_changed:
                self.execute_internal(f"UPDATE {CHECKPOINT_TABLE} SET projections = ?", (json.dumps(self._stored),))  # noqa: S608
            self.execute_internal("COMMIT")
            self._uses_changed = False
        except apsw.Error as error:
            self.roll_back()
            raise self._failure("The read model could not be written", error) from None

    def adopt(self, identity: Identity) -> None:
        """Follow a restored log whose events up to the checkpoint are the same."""
        self.execute_internal(f"UPDATE {CHECKPOINT_TABLE} SET log = ?, incarnation = ?", identity)  # noqa: S608

    def roll_back(self) -> None:
        """Roll back the transaction, if any."""
        if self.db.in_transaction:
            self.execute_internal("ROLLBACK")

    def _failure(self, problem: str, error: apsw.Error) -> Damaged | ReadModelBusyError:
        return unreadable(self.path, error) if is_damaged(error) else ReadModelBusyError(f"{problem}: {error}.")

    def finish(self) -> None:
        """Checkpoint all commits into the main file, close the file and sync it, ready for a rename."""
        try:
            busy, *_ = self.execute_internal("PRAGMA wal_checkpoint(TRUNCATE)")
        except apsw.Error as error:
            raise self._failure(f"{self.path} could not be finished", error) from None
        if busy:  # the rename would leave commits behind, in the -wal file
            raise ReadModelBusyError(f"{self.path} could not be finished: another process reads the file.")
        self.close()  # first, as SQLite loses its locks when this process closes another descriptor of the file
        with usable(self.path.parent):
            sync_file(self.path)  # with `synchronous=off`, no checkpoint has synced the file
