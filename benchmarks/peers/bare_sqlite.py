"""The limit of the disk: apsw alone, with rows of the same size as dualbus."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from time import perf_counter, time_ns

import apsw
import uuid_utils

from benchmarks import clock

EVENTS = """CREATE TABLE events (
    position INTEGER PRIMARY KEY, type TEXT NOT NULL, data BLOB NOT NULL,
    time INTEGER NOT NULL, command_id TEXT NOT NULL)"""
INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"
USERS = "CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID"
INSERT_USER = "INSERT INTO users VALUES (?, ?)"
ROWS_A_TRANSACTION = 10_000

TYPE, DATA = "UserCreated", b"x" * 110
Event = tuple[int, str, bytes, int, str]


def commit_p50(folder: Path, seconds: float) -> float:
    """Return the median milliseconds of a durable commit of a single event."""
    database, events = _log(folder), _events()
    p50 = clock.median_ms(lambda: _commit(database, events, 1), seconds)
    database.close()
    return p50


def group_commits(folder: Path, group: int, seconds: float) -> float:
    """Return the events per second with `group` events per commit."""
    database, events = _log(folder), _events()
    rate = clock.per_second(lambda: _commit(database, events, group), seconds)
    database.close()
    return rate


def bulk_insert(folder: Path, rows: int) -> float:
    """Return the rows of a read model per second: the upper bound for a projector."""
    users = [(str(uuid_utils.uuid7()), f"user {number:08d}") for number in range(rows)]
    # A read model can be rebuilt from the log, so commits need no fsync.
    database = _database(folder, USERS, synchronous="NORMAL")
    started = perf_counter()
    for first in range(0, rows, ROWS_A_TRANSACTION):
        with database:
            database.executemany(INSERT_USER, users[first : first + ROWS_A_TRANSACTION])
    rate = rows / (perf_counter() - started)
    database.close()
    return rate


def _commit(database: apsw.Connection, events: Iterator[Event], group: int) -> int:
    with database:
        database.executemany(INSERT_EVENT, list(islice(events, group)))
    return group


def _events() -> Iterator[Event]:
    for position in count(1):
        yield position, TYPE, DATA, time_ns(), str(uuid_utils.uuid7())


def _log(folder: Path) -> apsw.Connection:
    return _database(folder, EVENTS, synchronous="FULL")


def _database(folder: Path, table: str, synchronous: str) -> apsw.Connection:
    path = folder / f"{uuid_utils.uuid7()}.db"
    database = apsw.Connection(str(path))
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", synchronous)
    database.execute(table)
    return database
