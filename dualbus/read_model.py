"""The read model: one SQLite file, a pure function of the log and of the projections' versions.

Rows and checkpoint are committed together. The file's name tells which projections made it, so a changed
version is a new file, which appears under its name when it has caught up and not before.
"""

import json
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import apsw
import apsw.ext

from dualbus.app import Projection
from dualbus.fault import ConfigFault
from dualbus.log import NO_HASH
from dualbus.sqlite_errors import is_full
from dualbus.tables import Interrupted, Row, Values
from dualbus.wire import Identity

CHECKPOINT_TABLE = "dualbus_checkpoint"
_SCHEMA = f"""
CREATE TABLE {CHECKPOINT_TABLE} (one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL,
    incarnation TEXT NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
"""
_READ_CHECKPOINT = f"SELECT log, incarnation, position, hash FROM {CHECKPOINT_TABLE}"  # noqa: S608
_READ_ACTIONS = {
    apsw.SQLITE_SELECT,
    apsw.SQLITE_READ,
    apsw.SQLITE_FUNCTION,
    apsw.SQLITE_RECURSIVE,
}
_WRITE_ACTIONS = _READ_ACTIONS | {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}


class Checkpoint(NamedTuple):
    """Up to where the log is in the read model. The hash is a witness of the log from outside its file."""

    identity: Identity
    position: int
    hash: bytes


class Damaged(Exception):
    """The file is not a read model that can be read; the text says why."""


class NoRoom(Damaged):
    """The file cannot be read, since the disk has no room for what SQLite keeps beside it."""


class Unavailable(Exception):
    """The file cannot be written or read now; the text says why."""


class NotAllowed(Exception):
    """A projection or a query asked its handle for something that is not its to do."""


def file_name(projections: Sequence[Projection]) -> str:
    """Return the name of the file that these versions of these projections make."""
    made_of = [(projection.name, projection.version, projection.tables) for projection in projections]
    return f"read-{sha256(json.dumps(made_of).encode()).hexdigest()[:12]}.db"


def create(path: Path, projections: Sequence[Projection], identity: Identity) -> None:
    """Make an empty read model.

    Raises ConfigFault with every projection whose tables are not SQL, Unavailable if the disk does not have it.
    """
    errors = []
    try:
        db = apsw.Connection(str(path))
        db.pragma("journal_mode", "wal")
        db.execute(_SCHEMA)
        db.execute(f"INSERT INTO {CHECKPOINT_TABLE} VALUES (1, ?, ?, 0, ?)", (*identity, NO_HASH))  # noqa: S608
        for projection in projections:
            try:
                db.execute(projection.tables)
            except (apsw.FullError, apsw.IOError):
                raise
            except apsw.Error as error:
                errors.append(f"The tables of projection {projection.name} are not SQL that SQLite takes: {error}.")
        db.close()
    except apsw.Error as error:
        raise Unavailable(f"{path} cannot be made ({error})") from None
    if errors:
        raise ConfigFault(*errors)


def _unreadable(path: Path, error: apsw.Error) -> Damaged:
    return (NoRoom if is_full(error) else Damaged)(f"{path} cannot be read ({error}).")


class _Handle:
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
        if action not in self._allowed or (action not in _READ_ACTIONS and first == CHECKPOINT_TABLE):
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
            row = self.own(_READ_CHECKPOINT)
        except apsw.Error as error:
            raise _unreadable(self.path, error) from None
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


class ReadModelReader(_Handle):
    """The read model opened so that it cannot be written: read-only file, and a guard on statements."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READONLY, _READ_ACTIONS)
        self.db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        self.deadline = float("inf")  # by time.monotonic(): a statement that is still running then is stopped
        # SQLite counts over all runs of a statement, so one of ours, short as it is, may be asked too.
        self.db.set_progress_handler(lambda: not self._ours and time.monotonic() > self.deadline, 10_000)

    def begin(self) -> Checkpoint:
        """Begin a snapshot; every answer until `end` comes from its position."""
        self.own("BEGIN")
        return self.checkpoint()

    def end(self) -> None:
        """End the snapshot."""
        if self.db.in_transaction:
            self.own("ROLLBACK")


class ReadModelWriter(_Handle):
    """The read model opened by its only writer, the projector."""

    def __init__(self, path: Path, *, building: bool = False) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READWRITE, _WRITE_ACTIONS)
        # A power cut may take the last commits, never a part of one: the log gives them again.
        # While a file is being built nobody reads it, and a cut means building again.
        try:
            self.own(f"PRAGMA synchronous = {'off' if building else 'normal'}")
        except apsw.Error as error:  # the first that looks into the file
            self.close()
            raise _unreadable(path, error) from None

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
            raise Unavailable(f"The read model cannot be written: {error}.") from None

    def commit(self, position: int, hash_: bytes) -> None:
        """Commit the rows together with the checkpoint that says what they hold."""
        if not self.db.in_transaction:
            raise Unavailable("The read model was not written: a projection's statement has rolled back all of it.")
        try:
            self.own(f"UPDATE {CHECKPOINT_TABLE} SET position = ?, hash = ?", (position, hash_))  # noqa: S608
            self.own("COMMIT")
        except apsw.Error as error:
            self.roll_back()
            raise Unavailable(f"The read model could not be written: {error}.") from None

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
            raise Unavailable(f"{self.path} could not be finished: {error}.") from None
        self.close()


class ModelInMemory(_Handle):
    """A read model for the test of an application: the same guard, and no file."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__(Path(":memory:"), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MEMORY, _WRITE_ACTIONS)
        for projection in projections:
            self.own(projection.tables)

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def read_only(self) -> Self:
        """Allow from now on what a query may do, and no more."""
        self._allowed = _READ_ACTIONS
        self.db.authorizer = self._authorize  # setting it makes SQLite ask again about statements it has prepared
        return self


def witnesses(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints of the read models in a folder: up to where the log is known to have been."""
    found = []
    for path in sorted(folder.glob("read-*.db")):
        try:
            reader = ReadModelReader(path)
            found.append(reader.checkpoint())
            reader.close()
        except Damaged:
            continue  # the projector will say so, and make it anew
    return found
