"""Responses in JSON, with the position of the session."""

from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from dualbus.client.async_client import AsyncSession

from .site import Site

MEDIA_TYPE = "application/json"


def json_answer(site: Site, request: Request, session: AsyncSession, value: Any) -> Response:
    """Return the response of a call."""
    return Response(to_json(value), headers=site.sessions.headers(request, session), media_type=MEDIA_TYPE)
