"""GET and POST /queries/{type}: the answer to a query, with an ETag, or a stream of its answers."""

import hashlib
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import BaseRoute

from .bodies import JSON
from .caller import actor_of
from .endpoints import route
from .message_types import query_type
from .parameters import fields_of, parameters, pop_timeout, refuse_others
from .request import Request
from .site import Site
from .streams import EventStream, last_event_id, wants_stream
from .tracing import traced


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of all queries."""

    async def answer(request: Request) -> Response:
        kind = query_type(site, request)
        found = parameters(request)
        timeout = pop_timeout(found)
        if request.method == "POST":
            refuse_others(found)
            with await site.bodies.read(request) as params:
                if not wants_stream(request):
                    return await _answer(request, kind.__name__, params, timeout)
        else:
            params = fields_of(kind, found)
        if wants_stream(request):
            return await _stream(request, kind.__name__, params, timeout)
        return await _answer(request, kind.__name__, params, timeout)

    async def _answer(request: Request, name: str, params: dict[str, Any], timeout: float | None) -> Response:
        session = await site.sessions.of(request)
        with traced(site.tracer, request):
            content = to_json(await session.query(name, params, timeout=timeout))
        if request.method == "POST":
            return site.sessions.mark(Response(content, media_type=JSON), request, session)
        headers = {"etag": etag(content), "cache-control": "private, no-cache"}
        if is_known(headers["etag"], request):
            return site.sessions.mark(Response(status_code=304, headers=headers), request, session)
        return site.sessions.mark(Response(content, headers=headers, media_type=JSON), request, session)

    async def _stream(request: Request, name: str, params: dict[str, Any], timeout: float | None) -> Response:
        known = last_event_id(request)
        after = max((await site.sessions.of(request)).position, known)
        seconds, actor = timeout or site.timeout_seconds, actor_of(request.scope)
        frames = site.live.frames(name, params, after, known, seconds, actor)
        return EventStream(site.streams, frames)

    return [route("/queries/{type}", answer, "GET", "POST")]


def etag(content: bytes) -> str:
    """Return the ETag of a content."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def is_known(tag: str, request: Request) -> bool:
    """Return whether the caller has the content of an ETag."""
    known = request.field(b"if-none-match")
    return bool(known) and tag in (each.strip().removeprefix("W/") for each in known.split(","))
