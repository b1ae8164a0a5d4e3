"""The view Cluster: the picture of the processes, their rates, and charts of ten minutes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from dualbus.application.errors import DualbusError

from ..endpoints import route
from ..request import Request
from ..site import Site
from .alarms import Alarm, alarms
from .html import html, view
from .picture import Picture

STATUS_SECONDS = 1.5

Positions = Callable[[], Awaitable[tuple[int | None, int | None]]]  # of the log and of the read model, by their files


def routes(site: Site, positions: Positions) -> list[BaseRoute]:
    """Return the routes of the view, of its changing part, of its charts, and of the mark in all headers."""

    async def page(request: Request) -> Response:
        return html("cluster", view="cluster", **await _state(site, positions))

    async def part(request: Request) -> Response:
        return html("cluster_part", **await _state(site, positions))

    async def rates(request: Request) -> Response:
        try:
            found = await site.clients.reports.rates(STATUS_SECONDS)
            return JSONResponse(found, headers={"cache-control": "no-store"})
        except DualbusError:
            return Response(status_code=204)

    async def health(request: Request) -> Response:
        return html("health", alarms=_alarms(site, await _status(site, positions)))

    return [
        route("/", view(page)),
        route("/page/cluster", view(part)),
        route("/page/rates", rates),
        route("/page/health", view(health)),
    ]


async def _status(site: Site, positions: Positions) -> dict[str, Any] | None:
    """Return the status of the cluster; None if the gateway does not respond.

    The files have the position of a process that is not running.
    """
    try:
        status = await site.clients.reports.status(STATUS_SECONDS)
    except DualbusError:
        return None
    if None in (status["log_position"], status["read_model_position"]):
        for name, position in zip(("log_position", "read_model_position"), await positions(), strict=True):
            status[name] = position if status[name] is None else status[name]
        if None not in (status["log_position"], status["read_model_position"]):
            status["lag_events"] = max(0, status["log_position"] - status["read_model_position"])
    return status


async def _state(site: Site, positions: Positions) -> dict[str, Any]:
    status, rates = await asyncio.gather(_status(site, positions), _last_rates(site))
    picture = Picture(
        status,
        rates,
        site.requests.per_second(time.monotonic()),
        reacts=bool(site.app.reactors),
        positions=(None, None) if status else await positions(),
    )
    return {
        "alarms": _alarms(site, status),
        "status": status,
        "now": rates,
        "catch_up_s": catch_up_seconds(rates),
        "picture": picture,
    }


def _alarms(site: Site, status: dict[str, Any] | None) -> list[Alarm]:
    return alarms(status, reacts=bool(site.app.reactors))


async def _last_rates(site: Site) -> dict[str, Any]:
    """Return the last point of the rates; no values before the first."""
    try:
        columns = await site.clients.reports.rates(STATUS_SECONDS)
    except DualbusError:
        return {}
    return {name: values[-1] for name, values in columns.items() if isinstance(values, list) and values}


def catch_up_seconds(rates: dict[str, Any]) -> float | None:
    """Return the seconds until the read model reaches the head at the present rates; None if it does not."""
    if rates.get("lag_s") is None:
        return None
    if rates["lag_s"] == 0:  # the last events are on their way to the projector
        return 0.0
    gain: float = rates["applied_per_s"] - rates["written_per_s"]
    return rates["lag_events"] / gain if gain > 0 else None
