"""GET and POST /queries/{type}: the answer to a query, with an ETag."""

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .answers import json_answer
from .endpoints import route
from .message_types import query_type
from .parameters import TIMEOUT, fields_of, parameters, pop_timeout
from .site import Site
from .streams import EventStream, last_event_id, started, wants_stream


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of all queries."""

    async def get(request: Request) -> Response:
        kind = query_type(site, request)
        found = parameters(request)
        timeout = None if TIMEOUT in kind.model_fields else pop_timeout(found)
        params = fields_of(kind, found)
        if wants_stream(request):
            return await _stream(request, kind.__name__, params, timeout)
        answer = await _answer(request, kind.__name__, params, timeout)
        tag = f'"{hashlib.blake2b(answer.body, digest_size=12).hexdigest()}"'
        answer.headers["etag"] = tag
        answer.headers["cache-control"] = "private, no-cache"
        if tag in (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")):
            headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
            return Response(status_code=304, headers=headers)
        return answer

    async def post(request: Request) -> Response:
        kind = query_type(site, request)
        found = parameters(request)
        timeout = pop_timeout(found)
        with await site.bodies.read(request) as params:
            return await _answer(request, kind.__name__, params, timeout)

    async def _answer(request: Request, name: str, params: dict[str, Any], timeout: float | None) -> Response:
        session = site.sessions.of(request)
        return json_answer(site, request, session, await session.query(name, params, timeout=timeout))

    async def _stream(request: Request, name: str, params: dict[str, Any], timeout: float | None) -> Response:
        site.streams.check_room()
        after = max(site.sessions.of(request).position, last_event_id(request))
        frames = site.live.frames(name, params, after, timeout or site.timeout_seconds)
        return EventStream(site.streams, await started(frames))

    return [route("/queries/{type}", get), route("/queries/{type}", post, "POST")]
