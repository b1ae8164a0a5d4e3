"""GET /healthz and /readyz."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .site import Site


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the checks."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return [Route("/healthz", healthz)]
