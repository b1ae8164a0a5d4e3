"""The parts that all routes share: the application, the settings, and the client of the gateway."""

import asyncio

from dualbus.application.app import App
from dualbus.client.async_client import AsyncClient
from dualbus.runtime.settings import Settings

from .bodies import Bodies


class Site:
    """The application, the settings, the client of the gateway, and the bounds over all requests."""

    client: AsyncClient  # connected by the process

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.ending = asyncio.Event()  # streams end now
        self.bodies = Bodies()
