"""The public API: applications, clients and their errors.

Names are imported on first use: the gateway needs no application, and an application without clients no ZeroMQ.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from dualbus.application.app import App, Projection
    from dualbus.application.errors import (
        ClientClosed,
        DeadlineExceeded,
        DualbusError,
        Executed,
        HandlerError,
        KeyUsed,
        Problem,
        Rejected,
        Unavailable,
    )
    from dualbus.application.messages import Command, Email, Event, Query, Text
    from dualbus.application.pages import Limit, Page, page
    from dualbus.application.past import Past, State
    from dualbus.application.reactions import Attempt, Cancel, Every, Later, Reaction
    from dualbus.application.recorded import Recorded
    from dualbus.application.tables import ReadOnlyTables, Tables
    from dualbus.application.tags import Private, Tag, TagValue
    from dualbus.application.upcasts import Fields, Upcast
    from dualbus.client.async_client import AsyncClient, AsyncSession
    from dualbus.client.call import CommandResult
    from dualbus.client.client import Client, Session
    from dualbus.client.events import EventRecord

__all__ = [
    "App",
    "AsyncClient",
    "AsyncSession",
    "Attempt",
    "Cancel",
    "Client",
    "ClientClosed",
    "Command",
    "CommandResult",
    "DeadlineExceeded",
    "DualbusError",
    "Email",
    "Event",
    "EventRecord",
    "Every",
    "Executed",
    "Fields",
    "HandlerError",
    "KeyUsed",
    "Later",
    "Limit",
    "Page",
    "Past",
    "Private",
    "Problem",
    "Projection",
    "Query",
    "Reaction",
    "ReadOnlyTables",
    "Recorded",
    "Rejected",
    "Session",
    "State",
    "Tables",
    "Tag",
    "TagValue",
    "Text",
    "Unavailable",
    "Upcast",
    "__version__",
    "page",
]

_NAMES = {
    "dualbus.application.app": "App Projection",
    "dualbus.application.errors": "ClientClosed DeadlineExceeded DualbusError Executed HandlerError KeyUsed "
    "Problem Rejected Unavailable",
    "dualbus.application.messages": "Command Email Event Query Text",
    "dualbus.application.pages": "Limit Page page",
    "dualbus.application.past": "Past State",
    "dualbus.application.reactions": "Attempt Cancel Every Later Reaction",
    "dualbus.application.recorded": "Recorded",
    "dualbus.application.tables": "ReadOnlyTables Tables",
    "dualbus.application.tags": "Private Tag TagValue",
    "dualbus.application.upcasts": "Fields Upcast",
    "dualbus.client.async_client": "AsyncClient AsyncSession",
    "dualbus.client.call": "CommandResult",
    "dualbus.client.client": "Client Session",
    "dualbus.client.events": "EventRecord",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker that sees it accepts every name

    def __getattr__(name: str) -> Any:
        """Import a name of the public API."""
        if name == "__version__":
            from importlib import metadata

            return metadata.version("dualbus")
        if name not in _MODULES:
            raise AttributeError(f"module 'dualbus' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return found


def __dir__() -> list[str]:
    """Return the names of the module, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
