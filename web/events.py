"""GET /events: a page of the events of the log, or a stream that continues with new events."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import BaseRoute

from dualbus.application.errors import Rejected

from .bodies import JSON
from .endpoints import route
from .event_pages import request_page
from .parameters import parameters
from .positions import position_of
from .problems import Problem
from .request import Request
from .site import Site
from .streams import EventStream, last_event_id, wants_stream

NAMES = ("after", "after_hash", "limit", "type", "tag")
TEXTS = ("after_hash", "tag")


def routes(site: Site) -> list[BaseRoute]:
    """Return the route of the events."""

    async def events(request: Request) -> Response:
        params = _params(request)
        if wants_stream(request):
            return _stream(request, params)
        client = site.clients.of(request.scope)  # streams share a client: many pages of a caller would delay them
        with _names_of_parameters():
            return Response(to_json(await request_page(client, params)), media_type=JSON)

    def _stream(request: Request, params: dict[str, Any]) -> Response:
        if "limit" in params:
            raise Problem(400, "limit is for pages only: a stream has no end.")
        if (resumed := last_event_id(request)) > params["after"]:
            params |= {"after": resumed, "after_hash": ""}  # the hash is of the address, at which the stream began
        return EventStream(site.streams, _frames(params))

    async def _frames(params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        with _names_of_parameters():
            async with aclosing(site.event_pages.frames(params)) as frames:
                async for each in frames:
                    yield each

    return [route("/events", events)]


@contextmanager
def _names_of_parameters() -> Iterator[None]:
    """Name the parameters in problems: the cluster's field `types` is the parameter `type`."""
    try:
        yield
    except Rejected as rejected:
        problems = (
            replace(each, field="type" if each.field == "types" else each.field) for each in rejected.problems
        )
        raise Rejected(*problems) from None


def _params(request: Request) -> dict[str, Any]:
    """Return the parameters of the request for the cluster, which checks them."""
    found: dict[str, list[str]] = {}
    for name, text in parameters(request):
        if name not in NAMES:
            raise Problem(400, f"Unknown parameter {name[:100]!r}: known are {', '.join(NAMES)}.")
        found.setdefault(name, []).append(text)
    params: dict[str, Any] = {"after": 0, "after_hash": "", "types": found.pop("type", [])}
    for name, texts in found.items():
        if len(texts) > 1:
            raise Problem(400, f"{name} is not a list: send the parameter once.")
        number = position_of(texts[0])
        if number is None and name not in TEXTS:
            raise Problem(400, f"{name} must be a whole number.")
        params[name] = texts[0] if name in TEXTS else number
    return params
