"""What an application is written with."""

from dualbus.app import App, Projection
from dualbus.messages import Command, Email, Event, Private, Query, Rejected, Tag, Text
from dualbus.past import Past, State
from dualbus.tables import ReadOnlyTables, Tables
from dualbus.upcasts import Upcast

__all__ = [
    "App",
    "Command",
    "Email",
    "Event",
    "Past",
    "Private",
    "Projection",
    "Query",
    "ReadOnlyTables",
    "Rejected",
    "State",
    "Tables",
    "Tag",
    "Text",
    "Upcast",
]
