"""The view Parked: the events whose reaction has failed, each with a form to retry or to skip it."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from dualbus.reactions.store import RETRY, SKIP, ReactionStore
from dualbus.runtime.errors import DataError

from ..bodies import FORM
from ..endpoints import route
from ..positions import position_of
from ..problems import Problem
from ..request import Request
from ..site import Site
from .html import html, view
from .reading import Reading

PATH = "/page/parked"
SHOWN_MAX = 200
T = TypeVar("T")


def routes(site: Site, reactions: Reading) -> list[BaseRoute]:
    """Return the routes of the list and of its forms."""
    folder = site.settings.data

    async def page(request: Request) -> Response:
        rows = await reactions.run(lambda: _with_store(folder, lambda store: store.parked()))
        values: dict[str, Any] = {"rows": rows[:SHOWN_MAX], "more": max(0, len(rows) - SHOWN_MAX)}
        return html("parked", view="", reactions=site.app.reactors, **values)

    async def command(request: Request) -> Response:
        """Record a command of an operator; the reactor executes the command within a second."""
        reaction, position = request.path_params["reaction"], position_of(request.path_params["position"])
        if position is None:
            raise Problem(404, "No such path: the forms of this view have the positions.")
        with await site.bodies.read(request, FORM) as sent:
            wanted = sent.get("do", "")
        if wanted not in (RETRY, SKIP):
            raise Problem(400, f"do must be {RETRY} or {SKIP}.")

        def record(store: ReactionStore) -> bool:
            return store.command_parked(reaction, position, wanted)

        if not await reactions.run(lambda: _with_store(folder, record)):
            raise Problem(404, f"The event at position {position} is not parked any more.")
        return RedirectResponse(PATH, 303)

    return [
        route(PATH, view(page)),
        route(f"{PATH}/{{reaction}}/{{position}}", view(command), "POST"),
    ]


def _with_store(folder: Path, read: Callable[[ReactionStore], T]) -> T:
    try:
        with closing(ReactionStore(folder)) as store:
            return read(store)
    except DataError as error:
        raise Problem(503, str(error)) from None
