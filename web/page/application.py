"""The view Application: the graph from commands to queries, and the fields of all messages."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from dualbus.application.descriptions import about, events_of, fields_text

from ..endpoints import route
from ..request import Request
from ..site import Site
from .graph import Graph
from .html import html, view


def routes(site: Site) -> list[BaseRoute]:
    """Return the route of the view."""
    app = site.app
    graph = Graph(app)
    commands = [
        (kind.__name__, fields_text(kind), about(kind), [event.__name__ for event in decider.events])
        for kind, decider in app.decisions.items()
    ]
    events = [
        (name, fields_text(kind), about(kind), list(dict.fromkeys(one.projection for one in app.subscribers[kind])))
        for name, kind in app.event_types.items()
    ]
    projections = [(one.name, one.version, one.tables.strip(), events_of(app, one.name)) for one in app.projections]
    reactions = [
        (
            name,
            "effect" if reactors.is_effect else "process manager",
            [event.__name__ for event in reactors.by_event],
            sorted(kind.__name__ for kind in reactors.yields()),
        )
        for name, reactors in app.reactors.items()
    ]
    queries = [(kind.__name__, fields_text(kind), about(kind)) for kind in app.answers]

    async def page(request: Request) -> Response:
        return html(
            "application",
            view="application",
            name=site.settings.app,
            graph=graph,
            commands=commands,
            events=events,
            projections=projections,
            reactions=reactions,
            queries=queries,
        )

    return [route("/page/application", view(page))]
