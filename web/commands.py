"""POST /commands/{type}: execute a command once."""

from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import BaseRoute

from dualbus.application.errors import DualbusError

from .bodies import JSON
from .endpoints import route
from .keys import key_of
from .message_types import command_type
from .parameters import parameters, pop_timeout, refuse_others
from .problems import problem_of
from .request import Request
from .site import Site
from .tracing import traced


def routes(site: Site) -> list[BaseRoute]:
    """Return the route of all commands."""

    async def execute(request: Request) -> Response:
        kind = command_type(site, request)
        found = parameters(request)
        timeout = pop_timeout(found)
        refuse_others(found)
        key = key_of(request)
        with await site.bodies.read(request) as payload, traced(site.tracer, request):
            session = site.sessions.at_head(request)
            try:
                result = await session.command(kind.__name__, payload, timeout=timeout, idempotency_key=key)
            except DualbusError as error:
                return site.sessions.mark(problem_of(error).response(), request, session)
        headers = {"dualbus-repeated": "true"} if result.repeated else None
        content = to_json({"events": result.events, "position": result.position})
        return site.sessions.mark(Response(content, headers=headers, media_type=JSON), request, session)

    return [route("/commands/{type}", execute, "POST")]
