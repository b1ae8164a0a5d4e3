"""GET /metrics: the counts of the cluster, in the text format of Prometheus."""

import os
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from dualbus.telemetry.prometheus import CONTENT_TYPE, metrics_text
from dualbus.telemetry.usage import usage

from .endpoints import route
from .request import Request
from .site import Site

STATUS_SECONDS = 5.0


def routes(site: Site) -> list[BaseRoute]:
    """Return the route of the metrics."""

    async def metrics(request: Request) -> Response:
        status = await site.clients.reports.status(min(STATUS_SECONDS, site.timeout_seconds))
        status["processes"].append(_process(site))
        return Response(metrics_text(status), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    return [route("/metrics", metrics)]


def _process(site: Site) -> dict[str, Any]:
    """Return this process in the form of Status."""
    return {"name": "web", "pid": os.getpid(), "listeners": len(site.streams), **usage()}
