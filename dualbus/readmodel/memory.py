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
    """A read model for the test of an application: the same guard, and no file."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__(Path(":memory:"), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MEMORY, WRITE_ACTIONS)
        for projection in projections:
            self.own(projection.tables)

    def execute(self, sql: str, values: Values = ()) -> None:
        self._rows(sql, values)

    def read_only(self) -> Self:
        """Allow from now on what a query may do, and no more."""
        self._allowed = READ_ACTIONS
        self.db.authorizer = self._authorize  # setting it makes SQLite ask again about statements it has prepared
        return self
