"""Access to the read model: writable for projections, read-only for queries."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

Value = str | int | float | bytes | None
Values = Sequence[Value] | Mapping[str, Value]
Row: TypeAlias = Any
"""A row as a dictionary. Any, so that a query may return it as its own TypedDict."""


class Interrupted(BaseException):
    """Ends a handler at the deadline. A BaseException, because the application may catch every Exception."""


class ReadOnlyTables(Protocol):
    """Read access for queries. Each call fetches all rows and closes its cursor."""

    def one(self, sql: str, values: Values = ()) -> Row | None:
        """Return the first row as a dictionary, or None."""
        ...

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        """Return all rows as dictionaries."""
        ...


class Tables(ReadOnlyTables, Protocol):
    """Write access for projections. Rows and the checkpoint are committed together."""

    def execute(self, sql: str, values: Values = ()) -> None:
        """Execute a statement."""
        ...
