"""Pages of rows with a cursor: `after` of the next query is `next` of the previous answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypedDict

from pydantic import Field
from typing_extensions import TypeVar

from dualbus.application.tables import ReadOnlyTables, Row, Value

T = TypeVar("T", default=Row)

Limit = Annotated[int, Field(ge=1, le=1000)]
"""The number of items on a page."""


class Page(TypedDict, Generic[T]):
    """A page of rows, and the cursor of the next page; null after the last page."""

    items: list[T]
    next: Any


def page(tables: ReadOnlyTables, sql: str, values: Sequence[Value] = (), *, by: str, limit: int) -> Page[Row]:
    """Return the first `limit` rows of a SELECT, without LIMIT, and the value of the column `by` in the last row.

        return page(tables, "SELECT id, name FROM users WHERE id > ? ORDER BY id", (query.after,), by="id", limit=50)

    The column must be unique and the order of the rows must be that of the column.
    """
    rows = tables.all(f"{sql} LIMIT ?", (*values, limit + 1))
    items = rows[:limit]
    return {"items": items, "next": items[-1][by] if len(rows) > limit else None}
