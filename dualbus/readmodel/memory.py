"""A read model in memory, for tests of projections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import apsw
import apsw.ext

from dualbus.application.app import Projection
from dualbus.application.tables import Values
from dualbus.readmodel.guard import READ_ACTIONS, WRITE_ACTIONS, Handle


class ModelInMemory(Handle):
    """A read model without a file, with the same guard, for the tests of an application."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__(Path(":memory:"), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MEMORY, WRITE_ACTIONS)
        for projection in projections:
            self.execute_internal(projection.tables)

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def read_only(self) -> Self:
        """Allow only the statements of a query from now on."""
        self._allowed = READ_ACTIONS
        self.db.authorizer = self._authorize  # setting the authorizer makes SQLite check prepared statements again
        return self
