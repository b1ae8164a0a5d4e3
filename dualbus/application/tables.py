"""Access to the read model: writable for projections, read-only for queries."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any, ClassVar, Protocol, TypeAlias
from uuid import UUID

from pydantic import AnyUrl, BaseModel


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Scalar: TypeAlias = str | int | float | bytes | datetime | date | time | Decimal | UUID | Enum | None
Address: TypeAlias = PurePath | IPv4Address | IPv6Address | AnyUrl
Value: TypeAlias = Scalar | Address | BaseModel | Dataclass | Sequence[Any] | Mapping[Any, Any]
"""A value of a statement; docs/values.md lists the form of each in a table."""

Values = Sequence[Value] | Mapping[str, Value]
Row: TypeAlias = Any
"""A row as a dictionary. Any, so that a query may return it as its own TypedDict."""


class Interrupted(BaseException):
    """Ends a handler at the deadline. A BaseException, because the application may catch every Exception."""


class NotAllowed(Exception):
    """A projection or a query has run a statement that its handle does not allow."""


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
