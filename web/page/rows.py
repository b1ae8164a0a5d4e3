"""The view Read model: the tables and their rows, a page at a time."""

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from ..endpoints import route
from ..request import Request
from ..site import Site
from .html import html, view
from .parameters import TEXT_CHARS_MAX, whole_number
from .reading import Reading
from .tables import ReadModelTables, Rows, Table

ROWS_SHOWN = 50
CELL_CHARS_MAX = 300
PATH = "/page/rows"


def routes(site: Site, reading: Reading, model: ReadModelTables) -> list[BaseRoute]:
    """Return the routes of the tables and of the rows of a table."""

    async def page(request: Request) -> Response:
        tables = await reading.run(model.tables)
        name = request.path_params.get("table") or (tables[0].name if tables else "")
        if not name:
            return html("rows", view="rows", tables=tables, found=None)
        where = _where(request)
        offset = whole_number(request.query_params.get("offset", ""), "offset") or 0
        after = (await site.sessions.of(request)).position
        found = await reading.run(lambda: model.rows(name, where, offset, ROWS_SHOWN, after))
        return html(
            "rows",
            view="rows",
            tables=tables,
            found=found,
            cells=[
                [_cell(found.table, *cell) for cell in zip(_shown(found.table), row, strict=True)]
                for row in found.rows
            ],
            shown=_shown(found.table),
            numeric=_numeric(found),
            where=where or ("", ""),
            offset=offset,
            late=after if found.position < after else None,
            previous=_link(name, where, max(0, offset - ROWS_SHOWN)) if offset else "",
            following=_link(name, where, offset + ROWS_SHOWN) if found.more else "",
        )

    return [route(PATH, view(page)), route(f"{PATH}/{{table}}", view(page))]


def _shown(table: Table) -> list[str]:
    return [column for column in table.columns if column not in table.private]


def _numeric(found: Rows) -> list[str]:
    """Return the columns with a number in the first row."""
    [first] = found.rows[:1] or [[]]
    return [name for name, value in zip(_shown(found.table), first, strict=False) if isinstance(value, int | float)]


def _where(request: Request) -> tuple[str, str] | None:
    column, value = request.query_params.get("column", ""), request.query_params.get("value", "").strip()
    return (column, value[:TEXT_CHARS_MAX]) if column and value else None


def _link(name: str, where: tuple[str, str] | None, offset: int) -> str:
    pairs = {"column": where[0], "value": where[1]} if where else {}
    return f"{PATH}/{name}?{urlencode({**pairs, 'offset': offset})}"


def _cell(table: Table, column: str, value: Any) -> dict[str, str]:
    """Return the text of a value, its class, and the link to the events with the value as a tag."""
    if value is None:
        return {"text": "NULL", "kind": "null", "link": ""}
    if isinstance(value, bytes):
        return {"text": f"{len(value)} bytes", "kind": "null", "link": ""}
    text = str(value)
    tag = table.tags.get(column)
    link = f"/page/events?{urlencode({'tag': f'{tag}:{text}'})}" if tag and isinstance(value, str | int) else ""
    short = text if len(text) <= CELL_CHARS_MAX else f"{text[:CELL_CHARS_MAX]}…"
    return {"text": short, "kind": "number" if isinstance(value, int | float) else "text", "link": link}
