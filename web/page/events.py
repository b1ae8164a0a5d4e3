"""The view Events: the newest events by filters, followed live, and one event with its causes and effects."""

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from ..endpoints import route
from ..positions import position_of
from ..problems import Problem
from ..request import Request
from ..site import Site
from .history import Filter, Found, History
from .html import html, view
from .parameters import TEXT_CHARS_MAX, filter_of, link, whole_number
from .reading import Reading

EVENTS_SHOWN = 50
RELATED_MAX = 50
PATH = "/page/events"


def routes(site: Site, log: Reading, history: History) -> list[BaseRoute]:
    """Return the routes of the list, of its changes, and of one event."""

    async def page(request: Request) -> Response:
        wanted = filter_of(site.app, request)
        found = await log.run(lambda: history.newest(wanted, EVENTS_SHOWN))
        names = {"types": sorted(site.app.event_types), "tags": sorted(site.app.tags - site.app.private_tags)}
        return html("events", view="events", names=names, **_shown(wanted, found, found.head))

    async def changes(request: Request) -> Response:
        """Respond with the list if it has a new event, and with the next request of the page in any case."""
        wanted = filter_of(site.app, request)
        seen = whole_number(request.query_params.get("seen", ""), "seen") or 0

        def read() -> Found:
            new = history.newest(wanted, 1, seen)
            changed = new.events or new.more or new.head < seen  # the log was restored
            return history.newest(wanted, EVENTS_SHOWN) if changed else new

        found = await log.run(read)
        return html("events_part", **_shown(wanted, found, seen))

    async def one(request: Request) -> Response:
        text = request.path_params["position"]
        found = await log.run(lambda: _related(history, position_of(text) or 0))
        if found is None:
            raise Problem(404, f"The log has no event at position {text[:TEXT_CHARS_MAX]}.")
        return html("event", view="events", **found)

    return [
        route(PATH, view(page)),
        route(f"{PATH}/changes", view(changes)),
        route(f"{PATH}/{{position}}", view(one)),
    ]


def _shown(wanted: Filter, found: Found, seen: int) -> dict[str, Any]:
    older = link(PATH, wanted, before=found.searched)
    return {
        "wanted": wanted,
        "found": found,
        "seen": seen,
        "live": wanted.before is None and not wanted.until,
        "changes": link(f"{PATH}/changes", wanted, seen=found.head),
        "older": older if found.more else "",
        "newest": link(PATH, wanted, before=None),
        "limit": EVENTS_SHOWN,
    }


def _related(history: History, position: int) -> dict[str, Any] | None:
    """Return an event with its command, its cause, its effects, and its neighbours by tag."""
    event = history.one(position)
    if event is None:
        return None
    log = history.open()
    outcome = log.outcomes([event.command_id]).get(event.command_id)
    cause = outcome.origin.cause if outcome else None
    effects = log.caused_by(position)
    return {
        "event": event,
        "outcome": outcome,
        "siblings": history.of(outcome, RELATED_MAX) if outcome else [],
        "cause": history.one(cause) if cause else None,
        "effects": [(effect, history.of(effect, RELATED_MAX)) for effect in effects[:RELATED_MAX]],
        "effects_more": max(0, len(effects) - RELATED_MAX),
        "neighbours": history.neighbours(event),
        "head": log.head().position,
    }
