"""The tables of the SQLite log."""

from functools import cache

FILE_NAME = "log.db"
SHARED_NAME = "log.shared"  # the log beside this file is a replica: it names the commit log
REPLICA_NAME = "log.replica"  # the random name of this folder, for the last commit of a commit log
KEPT_NAME, KEPT_HEAD_NAME = "log-format-1.db", "log-format-1.head"  # of the old log, after an upgrade
UPGRADE_FOLDER = "upgrade"  # in the data folder: the new log, until it has its place
APPLICATION_ID = 0x64426C67  # "dBlg": distinguishes a log from other SQLite files
FORMAT = 2
CHECKPOINT_PAGES = 4000  # 16 MiB: a page written by many commits is copied into the file once

SCHEMA = f"""
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, incarnation TEXT NOT NULL,
    secret BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE events (position INTEGER PRIMARY KEY, type TEXT NOT NULL, data TEXT NOT NULL, time TEXT NOT NULL,
    command_id TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE tags (tag TEXT NOT NULL, type TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (tag, type, position)) STRICT, WITHOUT ROWID;
CREATE TABLE outcomes (number INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, fingerprint BLOB,
    first INTEGER NOT NULL, events INTEGER NOT NULL, errors TEXT NOT NULL, type TEXT NOT NULL, actor TEXT,
    cause INTEGER, correlation TEXT, trace TEXT, metadata TEXT) STRICT;
CREATE INDEX reactions ON outcomes (cause) WHERE cause IS NOT NULL;
CREATE TABLE commits (number INTEGER PRIMARY KEY, position INTEGER NOT NULL, outcomes INTEGER NOT NULL,
    hash BLOB NOT NULL) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
OUTCOME_COLUMNS = (
    "number, command_id, fingerprint, first, events, errors, type, actor, cause, correlation, trace, metadata"
)
ANY_OUTCOME = "SELECT 1 FROM outcomes WHERE command_id BETWEEN ? AND ? LIMIT 1"
ROWS_A_STATEMENT = 32
EVENT_COLUMNS = "position, type, data, time, command_id, hash"


@cache
def insert_sql(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"  # noqa: S608
