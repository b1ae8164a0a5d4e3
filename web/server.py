"""The HTTP server: uvicorn with bounds on connections, time and memory, and with a stop on request."""

import asyncio
import logging
import os
import socket
import ssl
import stat
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config
from uvicorn import Server as UvicornServer

from dualbus.runtime.errors import ConfigError
from dualbus.runtime.settings import Settings

from .clients import Clients
from .connections import HEAD_SECONDS, Connection, ConnectionTable, backlog

TICK_SECONDS = 1.0  # between updates of the Date header
KEEP_ALIVE_SECONDS = 75  # longer than the usual 60 s of a proxy, so that the proxy closes first
GRACE_SECONDS = 2  # after the request to stop, for replies to the requests in progress
LAST_SECONDS = 1  # further, for their responses: then uvicorn cancels them


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS of the address; None for http. Raises ConfigError for unusable files."""
    if not settings.http_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    files = f"DUALBUS_HTTP_CERT {settings.http_cert} and DUALBUS_HTTP_KEY {settings.http_key}"
    try:
        context.load_cert_chain(settings.http_cert, settings.http_key, password=_no_password)
        if os.stat(settings.http_key).st_mode & stat.S_IROTH:
            raise ConfigError(f"{settings.http_key} can be read by every user: run chmod 640 on the file.")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{files} cannot be used ({reason}): use a certificate and its key, in PEM.") from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


class Server(UvicornServer):
    """Serves an ASGI application, and its clients of the gateway, until the event `ending`."""

    def __init__(self, app: Any, clients: Clients, ending: asyncio.Event, tls: ssl.SSLContext | None) -> None:
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
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS + LAST_SECONDS,
            )
        )
        self.server_state = ConnectionTable()
        self._clients = clients
        self._ending = ending
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections. uvicorn itself waits a minute for a TLS handshake."""
        loop = asyncio.get_running_loop()
        self.servers = []
        for listener in sockets or ():
            options: Any = {"ssl": self._tls, "ssl_handshake_timeout": HEAD_SECONDS} if self._tls else {}
            self.servers.append(
                await loop.create_server(self._connection, sock=listener, backlog=backlog(), **options)
            )
        self.started = True

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, {})

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn itself checks for the end ten times a second."""
        while not self._ending.is_set():
            await self.on_tick(0)  # updates the Date header
            try:
                await asyncio.wait_for(self._ending.wait(), TICK_SECONDS)
            except TimeoutError:
                pass

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Respond to the requests in progress: with their replies, or with the outcome that the client knows."""
        closing = asyncio.create_task(self._close_clients())
        await super().shutdown(sockets)
        closing.cancel()

    async def _close_clients(self) -> None:
        """End all calls after the grace. Only the client knows whether a command has been sent, and its key."""
        await asyncio.sleep(GRACE_SECONDS)
        await self._clients.close()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the process."""
        yield
