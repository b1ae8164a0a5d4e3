"""A read model in memory, for the tests of applications."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import apsw.ext
import uuid_utils

from dualbus.application.app import Projection
from dualbus.application.tables import Values
from dualbus.readmodel.file import COLUMNS, column_mistakes
from dualbus.readmodel.functions import refuse_nondeterministic
from dualbus.readmodel.guard import READ_ACTIONS, WRITE_ACTIONS, Handle
from dualbus.readmodel.tables import create_tables
from dualbus.runtime.errors import ConfigError


class ModelInMemory(Handle):
    """A read model without a file, with the same guard, for the tests of an application."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        super().__init__(Path(f"file:/{uuid_utils.uuid7()}?vfs=memdb"), flags, WRITE_ACTIONS)
        self.execute_internal("PRAGMA foreign_keys = ON")
        refuse_nondeterministic(self.db)
        errors = [mistake for projection in projections if (mistake := create_tables(self.db, projection))]
        if errors := [*errors, *column_mistakes(self.execute_internal(COLUMNS))]:
            raise ConfigError(*errors)

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes at the end; without an end, none."""
        self.execute_internal("BEGIN")
        try:
            yield
            self.execute_internal("COMMIT")
        finally:
            if self.db.in_transaction:
                self.execute_internal("ROLLBACK")

    def read_only(self) -> Handle:
        """Return a handle for queries, which need none of the restrictions of projections."""
        return Handle(self.path, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, READ_ACTIONS)
