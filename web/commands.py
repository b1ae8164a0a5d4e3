"""POST /commands/{type}: execute a command once."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .answers import json_answer
from .endpoints import route
from .keys import key_of
from .message_types import command_type
from .parameters import parameters, pop_timeout, refuse_others
from .site import Site
from .tracing import traced


def routes(site: Site) -> list[BaseRoute]:
    """Return the route of all commands."""

    async def execute(request: Request) -> Response:
        kind = command_type(site, request)
        found = parameters(request)
        timeout = pop_timeout(found)
        refuse_others(found)
        key, session = key_of(request), site.client.session()  # a command is decided at the head of the log
        with await site.bodies.read(request) as payload, traced(site.tracer, request):
            result = await session.command(kind.__name__, payload, timeout=timeout, idempotency_key=key)
        answer = json_answer(site, request, session, {"events": result.events, "position": result.position})
        if result.repeated:
            answer.headers["dualbus-repeated"] = "true"
        return answer

    return [route("/commands/{type}", execute, "POST")]
