"""The read model: one SQLite file, a pure function of the log."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import apsw
import apsw.ext

from dualbus.application.app import Projection
from dualbus.log.contract import NO_HASH
from dualbus.log.identity import Identity
from dualbus.runtime.errors import ConfigError
from dualbus.runtime.sqlite_errors import is_full

CHECKPOINT_TABLE = "dualbus_checkpoint"
SCHEMA = f"""
CREATE TABLE {CHECKPOINT_TABLE} (one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL,
    incarnation TEXT NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
"""
READ_CHECKPOINT = f"SELECT log, incarnation, position, hash FROM {CHECKPOINT_TABLE}"  # noqa: S608


class Checkpoint(NamedTuple):
    """The last position of the log in the read model, with the hash at this position."""

    identity: Identity
    position: int
    hash: bytes


class Damaged(Exception):
    """The file is no readable read model; the text names the reason."""


class NoRoom(Damaged):
    """The file cannot be read: the disk is too full for SQLite's -wal and -shm files."""


class ReadModelBusyError(Exception):
    """The file cannot be written or read now; the text names the reason."""


class NotAllowed(Exception):
    """A projection or a query has run a statement that its handle does not allow."""


def file_name(projections: Sequence[Projection]) -> str:
    """Return the file name for these versions of these projections."""
    definitions = [(projection.name, projection.version, projection.tables) for projection in projections]
    return f"read-{sha256(json.dumps(definitions).encode()).hexdigest()[:12]}.db"


def create(path: Path, projections: Sequence[Projection], identity: Identity) -> None:
    """Create an empty read model.

    Raises ConfigError with every projection whose tables are not valid SQL, ReadModelBusyError if the file cannot
    be created.
    """
    errors = []
    try:
        db = apsw.Connection(str(path))
        db.pragma("journal_mode", "wal")
        db.execute(SCHEMA)
        db.execute(f"INSERT INTO {CHECKPOINT_TABLE} VALUES (1, ?, ?, 0, ?)", (*identity, NO_HASH))  # noqa: S608
        for projection in projections:
            try:
                db.execute(projection.tables)
            except (apsw.FullError, apsw.IOError):
                raise
            except apsw.Error as error:
                errors.append(f"The tables of projection {projection.name} are not valid SQL for SQLite: {error}.")
        db.close()
    except apsw.Error as error:
        raise ReadModelBusyError(f"{path} cannot be created ({error})") from None
    if errors:
        raise ConfigError(*errors)


def unreadable(path: Path, error: apsw.Error) -> Damaged:
    return (NoRoom if is_full(error) else Damaged)(f"{path} cannot be read ({error}).")
