"""The ASGI application: checks a request, finds its route, and converts errors into problems."""

import asyncio
import logging
from collections.abc import Awaitable

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualbus.application.errors import DualbusError

from . import commands, docs, events, health, metrics, queries
from .guard import Guard, protective_headers
from .page import routes as page
from .problems import STOPPED, Problem, busy, problem_of
from .request import Request
from .site import Site

OF_TYPES = ("/commands/{type}", "/queries/{type}")
ROUTES = (commands, queries, events, health, metrics, docs, page)

logger = logging.getLogger(__name__)


class WebApp:
    """All routes, behind the guard."""

    def __init__(self, site: Site) -> None:
        self._requests = site.requests
        self._guard = Guard(site.settings)
        self._access = site.access
        routes = [route for module in ROUTES for route in module.routes(site)]
        self._router = Router(routes, redirect_slashes=False)
        self._of_types = {
            (method, route.path.split("/")[1]): route.endpoint
            for route in routes
            if isinstance(route, Route) and route.path in OF_TYPES
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        started = False

        def send_with_headers(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] += protective_headers(message["headers"])
            return send(message)

        self._requests.total += 1
        scope["app"] = self  # Router raises HTTPException
        try:
            self._guard.check(scope)
            if answer := self._access.check(scope):
                await answer(scope, receive, send_with_headers)
                return
            await self._endpoint(scope)(scope, receive, send_with_headers)
        except (Exception, asyncio.CancelledError) as error:  # uvicorn would respond with 500 and text
            if started:
                raise
            await _problem(scope, error).response()(scope, receive, send_with_headers)

    def _endpoint(self, scope: Scope) -> ASGIApp:
        """Return the endpoint of a message type, for most requests; otherwise the router."""
        kind, _, name = scope["path"][1:].partition("/")
        endpoint = self._of_types.get((scope["method"], kind))
        if endpoint is None or not name or "/" in name:
            return self._router
        scope["path_params"] = {"type": name}
        return endpoint


def _problem(scope: Scope, error: BaseException) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, asyncio.CancelledError):  # the process stops; calls have ended earlier
        return busy(f"{STOPPED}: retry later.")
    if isinstance(error, DualbusError):
        return problem_of(error)
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return Problem(405, f"{Request(scope).url.path} accepts {allowed} only.", {"allow": allowed})
    if isinstance(error, HTTPException):
        return Problem(404, "No such path: /docs lists the paths.")
    logger.error("A request to %s failed.", scope["path"], exc_info=error)
    return Problem(500, "Internal error of the web process: its log has the details.")
