"""The public API: applications, clients and their errors."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

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
from dualbus.client.call import CommandResult
from dualbus.client.events import EventRecord

if TYPE_CHECKING:
    __version__: str
    from dualbus.client.async_client import AsyncClient, AsyncSession
    from dualbus.client.client import Client, Session

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


def __getattr__(name: str) -> Any:
    """Import the clients on first use, because an application without clients needs no ZeroMQ."""
    if name == "__version__":
        return metadata.version("dualbus")
    if name in ("Client", "Session"):
        from dualbus.client import client

        return getattr(client, name)
    if name in ("AsyncClient", "AsyncSession"):
        from dualbus.client import async_client

        return getattr(async_client, name)
    raise AttributeError(f"module 'dualbus' has no attribute {name!r}")
