"""The routes of all views, and of the files that the views load."""

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from ..site import Site
from . import application, cluster, commands, events, parked, rows, trying
from .history import History
from .html import FOLDER
from .reading import Reading
from .tables import ReadModelTables


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the page."""
    log, tables = Reading("log"), Reading("tables")
    history = History(site.app, site.settings.data)
    model = ReadModelTables(site.app, site.settings.data)

    async def positions() -> tuple[int | None, int | None]:
        return await log.run(history.head), await tables.run(model.position)

    return [
        *cluster.routes(site, positions),
        *events.routes(site, log, history),
        *commands.routes(site, log, history),
        *trying.routes(site),
        *application.routes(site),
        *rows.routes(site, tables, model),
        *parked.routes(site, Reading("reactions")),
        Mount("/page/static", StaticFiles(directory=FOLDER / "static")),
    ]
