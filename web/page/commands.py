"""The view Commands: the latest commands, and one command from its acceptance to the read model."""

from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from dualbus.application.errors import DualbusError, problems_from
from dualbus.log.contract import Outcome, ReadableLog

from ..endpoints import route
from ..problems import Problem
from ..request import Request
from ..site import Site
from .history import History
from .html import html, view
from .parameters import TEXT_CHARS_MAX, whole_number
from .reading import Reading
from .stages import Stages

COMMANDS_SHOWN = 50
EVENTS_SHOWN = 100
TIMELINE_SECONDS = 1.0
PATH = "/page/commands"


def routes(site: Site, log: Reading, history: History) -> list[BaseRoute]:
    """Return the routes of the list and of one command."""
    latest = LatestCommands()

    async def page(request: Request) -> Response:
        key, position = request.query_params.get("key", "").strip(), request.query_params.get("position", "")
        if key:
            return await one(key)
        if position:
            return await at(whole_number(position, "position") or 0)
        outcomes = await log.run(lambda: latest.read(history.open(), COMMANDS_SHOWN))
        return html("commands", view="commands", outcomes=outcomes, problems_from=problems_from)

    async def at(position: int) -> Response:
        event = await log.run(lambda: history.one(position))
        if event is None:
            raise Problem(404, f"The log has no event at position {position}.")
        return await one(event.command_id)

    async def one(key: str) -> Response:
        if len(key) > TEXT_CHARS_MAX:
            raise Problem(400, f"A key has at most {TEXT_CHARS_MAX} characters.")
        outcome = await log.run(lambda: history.open().outcomes([key]).get(key))
        events = await log.run(lambda: history.of(outcome, EVENTS_SHOWN)) if outcome else []
        timeline = await _timeline(site, key)
        if not outcome and not timeline:
            raise Problem(404, f"No command has the key {key!r}.")
        return html("command", view="commands", **_shown(key, outcome, events, timeline))

    async def find(request: Request) -> Response:
        """Redirect to a command by its key or, for a number, by the position of its event."""
        text = request.query_params.get("find", "").strip()
        name = "position" if text.isascii() and text.isdecimal() and len(text) < 19 else "key"
        return RedirectResponse(f"{PATH}?{urlencode({name: text})}" if text else PATH, 303)

    return [route(PATH, view(page)), route(f"{PATH}/find", view(find))]


async def _timeline(site: Site, key: str) -> dict[str, Any] | None:
    """Return the stages of a recent command; None also if the gateway does not respond."""
    try:
        return await site.clients.reports.timeline(key=key, timeout=TIMELINE_SECONDS)
    except DualbusError:
        return None


def _shown(key: str, outcome: Outcome | None, events: list[Any], timeline: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "key": key,
        "outcome": outcome,
        "events": events,
        "errors": problems_from(outcome.errors) if outcome else [],
        "timeline": timeline,
        "stages": Stages(timeline["stages"]) if timeline else None,
    }


class LatestCommands:
    """The last commands of the log, newest first. The log counts its commands; the contract has no last number."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, log: ReadableLog, limit: int) -> list[Outcome]:
        """Return the last commands."""
        self._count = _count(log, self._count)
        return log.commands(max(0, self._count - limit), limit)[::-1]


def _count(log: ReadableLog, known: int) -> int:
    """Return the number of commands, from a number of an earlier search."""
    low = known if known == 0 or log.commands(known - 1, 1) else 0  # a restored log has fewer
    step = 1
    while log.commands(low + step - 1, 1):
        low += step
        step *= 2
    high = low + step  # the log has fewer
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if log.commands(middle - 1, 1) else (low, middle)
    return low
