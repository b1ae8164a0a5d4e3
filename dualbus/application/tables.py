"""The two handles on the read model: a projection's, which writes, and a query's, which cannot."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Value = str | int | float | bytes | None
Values = Sequence[Value] | Mapping[str, Value]
Row = dict[str, Any]


class Interrupted(BaseException):
    """Ends a handler that has run into its deadline, past any `except Exception` of the application."""


class ReadOnlyTables(Protocol):
    """What a query reads through. Every call fetches all it found and closes: no cursor stays open."""

    def one(self, sql: str, values: Values = ()) -> Row | None:
        """Return the first row, column names to values, or None."""
        ...

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        """Return every row, column names to values."""
        ...


class Tables(ReadOnlyTables, Protocol):
    """What a projection writes through: its rows are committed together with the checkpoint."""

    def execute(self, sql: str, values: Values = ()) -> None:
        """Run one statement."""
        ...
