"""The log in memory, for the tests of applications."""

from collections.abc import Callable
from pathlib import Path

import apsw
import uuid_utils

from dualbus.log.contract import Decision
from dualbus.log.sqlite.writer import SqliteLog, create_tables


class SqliteMemoryLog(SqliteLog):
    """A log with the statements, conditions and hashes of SqliteLog, without a file."""

    def __init__(self, genesis: Callable[[bytes], Decision]) -> None:
        self._path = Path(f"file:/{uuid_utils.uuid7()}?vfs=memdb")
        self._head_file = None
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        created = apsw.Connection(str(self._path), flags=flags)
        create_tables(created)
        self._open(flags)
        created.close()
        self._load_head()
        self.append([genesis(self.secret)])

    def close(self) -> None:
        """Close the log, and free its memory."""
        self._db.close()
