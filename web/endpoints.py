"""An endpoint: a function from a request to a response, without the exception handling that the application has."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .request import Request

Handler = Callable[[Request], Awaitable[Response]]


class Endpoint:
    """Calls a handler, and sends its response."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        response = await self._handler(Request(scope, receive))
        await response(scope, receive, send)


def route(path: str, handler: Handler, *methods: str) -> Route:
    """Return the route of a handler, for GET or for other methods."""
    return Route(path, Endpoint(handler), methods=methods or ("GET",))
