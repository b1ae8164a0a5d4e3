"""The parts that all routes share: the application, the settings, the clients of the gateway, and the listeners."""

import asyncio
import shlex

from dualbus.application.app import App
from dualbus.runtime.settings import Settings
from dualbus.runtime.tokens import HEADER_FILE
from dualbus.telemetry.tracing import open_tracer

from .access import Access
from .bodies import Bodies
from .clients import Clients
from .event_pages import EventPages
from .head import Head
from .live import LiveQueries
from .request_rate import RequestRate
from .sessions import Sessions
from .streams import Streams


class Site:
    """Everything that routes need."""

    def __init__(self, app: App, settings: Settings, clients: Clients, streams_max: int) -> None:
        self.app = app
        self.settings = settings
        self.clients = clients
        self.curl = f"curl -H @{shlex.quote(str(settings.keys / HEADER_FILE))}" if settings.keys else "curl"
        self.timeout_seconds = settings.timeout_ms / 1000
        self.streams = Streams(streams_max)
        self.access = Access(settings, clients, self.streams)
        self.bodies = Bodies(self.access)
        self.sessions = Sessions(clients, settings)
        self.head = Head(clients)
        self.live = LiveQueries(clients, self.head)
        self.event_pages = EventPages(clients, self.head)
        self.tracer = open_tracer("web", ())
        self.requests = RequestRate()
        self.ending = asyncio.Event()

    def end(self) -> None:
        """End all streams; the server then ends."""
        self.ending.set()
        self.streams.end()
