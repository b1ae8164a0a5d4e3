"""A read model in memory, for tests of projections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import apsw
import apsw.ext

from dualbus.application.app import Projection
from dualbus.application.tables import Values
from dualbus.readmodel.functions import refuse_nondeterministic
from dualbus.readmodel.guard import READ_ACTIONS, WRITE_ACTIONS, Handle


class ModelInMemory(Handle):
    """A read model without a file, with the same guard, for the tests of an application."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__(Path(":memory:"), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MEMORY, WRITE_ACTIONS)
        self.execute_internal("PRAGMA foreign_keys = ON")
        refuse_nondeterministic(self.db)
        for projection in projections:
            self.execute_internal(projection.tables)

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def read_only(self) -> Self:
        """Allow only the statements of a query from now on."""
        written, self.db = self.db, apsw.Connection(":memory:")  # without the refused functions
        with self.db.backup("main", written, "main") as backup:
            backup.step()
        written.close()
        self._allowed = READ_ACTIONS
        self._prepare()
        return self
