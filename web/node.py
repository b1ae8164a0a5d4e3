"""The process: bind the address, connect a client to the gateway, and serve HTTP until a stop is requested."""

import asyncio
import errno
import logging
import math
import os
import socket
import ssl
import threading

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.runtime.errors import EXIT_OK, AlreadyRunningError, ConfigError, FatalError
from dualbus.runtime.files import raise_descriptor_limit, refusal
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop, stop_signals
from dualbus.runtime.streams import write_to_terminal
from dualbus.runtime.tokens import operator_token
from dualbus.transport.poller import Poll

try:
    from uvloop import new_event_loop

    from .app import WebApp
    from .clients import Clients
    from .connections import connections_max
    from .server import Server, tls_context
    from .site import Site
except ModuleNotFoundError as missing:
    MISSING = (missing.name or "").partition(".")[0]
else:
    MISSING = ""


logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the web process until a stop is requested."""
    if MISSING:
        raise ConfigError(
            f"The web process needs the package {MISSING}: install dualbus[web], or start the cluster without web."
        )
    app = load(settings.app)
    token = operator_token(settings.keys) if settings.keys else ""
    tls = tls_context(settings)
    raise_descriptor_limit()
    with _bound(settings) as listener:
        _announce(settings, token)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(app, settings, listener, tls, stop))
    return EXIT_OK


def _announce(settings: Settings, token: str) -> None:
    """Log the address; write the address with the token to the terminal only, because a log is no place for it."""
    text = f"Serving HTTP on {settings.http} (pid {os.getpid()})."
    if not token:
        text += " DUALBUS_KEYS is off: every user of this machine can send requests."
    elif not write_to_terminal(f"web: The page: {settings.page_address(token)}\n"):
        text += " The page: run `dualbus tokens show`."
    logger.info("%s", text)


async def _run(app: App, settings: Settings, listener: socket.socket, tls: ssl.SSLContext | None, stop: Stop) -> None:
    loop = asyncio.get_running_loop()
    clients = Clients(settings)
    site = Site(app, settings, clients, streams_max=connections_max() // 2)
    server = Server(WebApp(site), clients, site.ending, tls)

    def end() -> None:
        stop.requested = True
        site.end()

    def watch_supervisor() -> None:
        poll = Poll(stop=stop)
        while not stop.requested:
            poll.wait(math.inf)
        loop.call_soon_threadsafe(end)

    for number in stop_signals():
        loop.add_signal_handler(number, end)
    threading.Thread(target=watch_supervisor, daemon=True).start()
    if stop.requested:
        end()
    watching = asyncio.create_task(site.access.watch())
    async with clients:
        await server.serve([listener])
    watching.cancel()
    if site.tracer:
        site.tracer.close()


def _bound(settings: Settings) -> socket.socket:
    """Bind the address; raise a FatalError if this is impossible."""
    host, port = settings.http_host_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so that asyncio sets TCP_NODELAY
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # with SO_REUSEADDR, only listen() detects another listener everywhere
    except OSError as error:
        listener.close()
        raise _unusable(settings.http, error) from None
    return listener


def _unusable(address: str, error: OSError) -> FatalError:
    what = f"{address} cannot be listened on"
    if error.errno == errno.EADDRINUSE:
        return AlreadyRunningError(f"{what} ({error.strerror}): stop the process that has it, or set DUALBUS_HTTP.")
    return refusal(what, error.strerror, error.errno, "set DUALBUS_HTTP to an address that this user can use")
