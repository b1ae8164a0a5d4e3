"""The read model: one SQLite file, a pure function of the log."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import apsw.ext

from dualbus.application.app import Projection
from dualbus.log.contract import NO_HASH
from dualbus.log.identity import Identity
from dualbus.readmodel.functions import refuse_nondeterministic
from dualbus.readmodel.tables import CHECKPOINT_TABLE, create_tables
from dualbus.runtime.errors import ConfigError
from dualbus.runtime.sqlite_errors import is_full

SCHEMA = f"""
CREATE TABLE {CHECKPOINT_TABLE} (one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL,
    incarnation TEXT NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, projections TEXT NOT NULL) STRICT;
"""
READ_CHECKPOINT = f"SELECT log, incarnation, position, hash FROM {CHECKPOINT_TABLE}"  # noqa: S608
READ_PROJECTIONS = f"SELECT projections FROM {CHECKPOINT_TABLE}"  # noqa: S608
OBJECTS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_'"
)
COLUMNS = (  # as JSON, because a read model in memory reads its own tables by one row
    "SELECT json_group_array(json_array(tables.name, columns.name, columns.type)) FROM pragma_table_list AS tables "
    "JOIN pragma_table_info(tables.name) AS columns "
    "WHERE tables.schema = 'main' AND tables.type = 'table' AND NOT tables.strict"
)
# Of a table in a schema, with generated columns, without the hidden columns of virtual tables
COLUMN_NAMES = "SELECT name FROM pragma_table_xinfo(?, ?) WHERE hidden <> 1 ORDER BY cid"
# Parts of the names of types, as SQLite reads them. Other types have the affinity NUMERIC, which converts text.
KEPT_TYPES = ("INT", "CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB", "BOOL", "DATE", "TIME")


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


class Stored(NamedTuple):
    """A projection as a read model was built with it."""

    definition: str  # the hash of name, version, tables and event types
    objects: list[list[str]]  # type and name of its tables, views and triggers
    uses: list[str]  # the projections whose tables its functions or its tables refer to


def definition(projection: Projection) -> str:
    """Return a hash of a projection's name, version, tables and event types."""
    parts = [projection.name, projection.version, projection.tables, projection.event_names()]
    return sha256(json.dumps(parts).encode()).hexdigest()


def file_name(projections: Sequence[Projection]) -> str:
    """Return the file name for these definitions, whatever their order."""
    definitions = sorted(map(definition, projections))
    return f"read-{sha256(json.dumps(definitions).encode()).hexdigest()[:12]}.db"


def create(path: Path, projections: Sequence[Projection], identity: Identity) -> None:
    """Create an empty read model.

    Raises ConfigError with the mistakes in the SQL of all tables, ReadModelBusyError if the file cannot
    be created.
    """
    try:
        db = apsw.Connection(str(path))
        db.pragma("journal_mode", "wal")
        db.execute(SCHEMA)
        db.execute(f"INSERT INTO {CHECKPOINT_TABLE} VALUES (1, ?, ?, 0, ?, '{{}}')", (*identity, NO_HASH))  # noqa: S608
        add_tables(db, projections, {})
        db.close()
    except apsw.Error as error:
        raise ReadModelBusyError(f"{path} cannot be created ({error})") from None


def add_tables(db: apsw.Connection, projections: Sequence[Projection], stored: dict[str, Stored]) -> None:
    """Create the tables of projections beside those of `stored`, and record both. Raises ConfigError."""
    errors: list[str] = []
    refuse_nondeterministic(db)
    owners = {name: owner for owner, part in stored.items() for _, name in part.objects}
    for projection in projections:
        if mistake := create_tables(db, projection):
            errors.append(mistake)
        objects = [[kind, name] for kind, name in _objects(db) if name not in owners]
        owners |= {name: projection.name for _, name in objects}
        stored[projection.name] = Stored(definition(projection), objects, [])
    if errors := [*errors, *column_mistakes(db.execute(COLUMNS).get)]:
        raise ConfigError(*errors)
    for name, other in _references(db):
        owner, used = owners.get(name), owners.get(other)
        if owner and used and owner != used and used not in stored[owner].uses:
            stored[owner].uses.append(used)
    db.execute(f"UPDATE {CHECKPOINT_TABLE} SET projections = ?", (json.dumps(stored),))  # noqa: S608


def _objects(db: apsw.Connection) -> list[list[str]]:
    rows: list[Any] = db.execute(OBJECTS).fetchall()
    return [[kind, folded(name)] for kind, name, *_ in rows if name != CHECKPOINT_TABLE]


def column_mistakes(columns: Any) -> Iterator[str]:
    """Yield a sentence for each of the COLUMNS whose type makes SQLite convert text that looks like a number."""
    for table, column, declared in json.loads(columns):
        kind = declared.upper()
        if kind and not any(name in kind for name in KEPT_TYPES):
            yield (
                f"Column {column} of table {table} has the type {declared}: SQLite converts text such as 0.10 in "
                "this column to a number of 15 digits. Use TEXT for text and Decimals, INTEGER or REAL for numbers."
            )


def _references(db: apsw.Connection) -> list[tuple[str, str]]:
    """Return the names of objects, with the names of the tables that they are on or have foreign keys to."""
    rows: list[Any] = db.execute(
        'SELECT name, tbl_name FROM sqlite_schema UNION ALL SELECT schema.name, parent."table" '
        "FROM sqlite_schema AS schema JOIN pragma_foreign_key_list(schema.name) AS parent"
    ).fetchall()
    return [(folded(name), folded(other)) for name, other in rows]


def read_projections(db: apsw.Connection) -> dict[str, Stored]:
    """Return the projections of a read model by name; none if the file has no valid record of these."""
    try:
        found = json.loads(db.execute(READ_PROJECTIONS).get or "{}")
        return {name: Stored(*part) for name, part in found.items()}
    except (apsw.SQLError, apsw.CorruptError, ValueError, TypeError):
        return {}


def unreadable(path: Path, error: apsw.Error) -> Damaged:
    return (NoRoom if is_full(error) else Damaged)(f"{path} cannot be read ({error}).")


def folded(name: str) -> str:
    """Return a name of the schema as SQLite compares names: the letters of ASCII in lower case."""
    return name.encode().lower().decode()


def quoted(name: str) -> str:
    """Return a name of the schema as SQL."""
    return '"' + name.replace('"', '""') + '"'
