"""The HTTP server: uvicorn with bounds on connections, time and memory, and with a stop on request."""

import asyncio
import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config
from uvicorn import Server as UvicornServer

from .connections import ACCEPTED_MAX, Connection, ConnectionTable

BACKLOG = 2048  # connections that wait in the system
TICK_SECONDS = 1.0  # between updates of the Date header
KEEP_ALIVE_SECONDS = 75  # longer than the usual 60 s of a proxy, so that the proxy closes first
GRACE_SECONDS = 2  # after the request to stop, for responses in progress


class Server(UvicornServer):
    """Serves an ASGI application until the event `ending`."""

    def __init__(self, app: Any, ending: asyncio.Event) -> None:
        for name in ("uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.ERROR)  # requests are not logged, nor refused bytes
        super().__init__(
            Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                loop="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=ACCEPTED_MAX,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.server_state = ConnectionTable()
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # again, because asyncio has one number for accepted and for waiting connections

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn itself checks for the end ten times a second."""
        while not self._ending.is_set():
            await self.on_tick(0)  # updates the Date header
            try:
                await asyncio.wait_for(self._ending.wait(), TICK_SECONDS)
            except TimeoutError:
                pass

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the process."""
        yield
