"""Responses in JSON, with the position of the session."""

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from dualbus.client.async_client import AsyncSession

from .sessions import position_headers
from .site import Site

MEDIA_TYPE = "application/json"


def json_answer(site: Site, session: AsyncSession, value: Any) -> Response:
    """Return the response of a call."""
    return Response(to_json(value), headers=position_headers(site, session), media_type=MEDIA_TYPE)
