"""GET /healthz: the process runs. GET /readyz: the cluster executes commands and queries, without a large lag."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from dualbus.application.errors import DualbusError

from .endpoints import route
from .page.alarms import FOLLOWING, level_of
from .problems import RETRY_SECONDS
from .request import Request
from .site import Site

STATUS_SECONDS = 2.0
LAG_SECONDS_MAX = 10.0
SILENT_SECONDS = 2.0
NEEDED = ("commandbus", "projector", "querybus")


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the checks."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            problems = unready(await site.clients.reports.status(STATUS_SECONDS))
        except DualbusError:
            problems = ["The gateway does not respond: run `dualbus status`."]  # no address: probes have no token
        if problems:
            return JSONResponse(
                {"status": "not ready", "problems": problems}, 503, {"retry-after": str(RETRY_SECONDS)}
            )
        return JSONResponse({"status": "ready"})

    return [route("/healthz", healthz), route("/readyz", readyz)]


def unready(status: dict[str, Any]) -> list[str]:
    """Return the reasons why a cluster with this status is not ready."""
    seen = {each["name"] for each in status["processes"] if each.get("seen_s", 0) <= SILENT_SECONDS}
    problems = [f"No {name} responds." for name in NEEDED if name not in seen]
    states = [each.get("state", FOLLOWING) for each in status["processes"] if each["name"] == "projector"]
    if any(level_of(state) == "stop" for state in states):
        problems.append("The projector has stopped: run `dualbus status`.")
    lag = status["lag_s"] or 0.0
    if lag > LAG_SECONDS_MAX:
        problems.append(f"The read model is {lag:.0f} s behind the log.")
    return problems
