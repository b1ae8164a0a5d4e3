"""The connection of a client to the gateway, and the exchange of its calls and replies."""

import logging
import os
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from dualbus.client.calls import PendingCalls
from dualbus.runtime.settings import Settings
from dualbus.transport.keys import load_keys
from dualbus.transport.sockets import Connection

CONNECT_SECONDS = 1.0  # to connect to a gateway, before the next address
KEYS_SECONDS = 5.0  # that a client waits for the first start of its cluster

logger = logging.getLogger(__name__)


def new_calls(
    address: str | None, src: str | None, timeout: float | None, keys: Path | str | None = None
) -> PendingCalls:
    """Create the pending calls of a client, with defaults from the settings. Raises ConfigError."""
    given = {"DUALBUS_FRONT": address or "", "DUALBUS_KEYS": str(keys or "")}
    settings = Settings.from_env(os.environ | {variable: value for variable, value in given.items() if value})
    seconds = settings.timeout_ms / 1000 if timeout is None else timeout
    calls = PendingCalls(settings.front, src, seconds, random.random, lambda: secrets.token_urlsafe(12))
    calls.addresses += settings.other_fronts
    calls.keys = load_keys(settings.keys, min(seconds, KEYS_SECONDS))
    return calls


class ClientLink:
    """The common part of both clients. Calls `watch` for each new connection, and `unwatch` before its end."""

    def __init__(
        self, calls: PendingCalls, watch: Callable[[Connection], None], unwatch: Callable[[Connection], None]
    ) -> None:
        self._calls = calls
        self._watch = watch
        self._unwatch = unwatch
        self._connection: Connection | None = None
        self._connect()

    def step(self) -> bool:
        """Send, receive and expire calls; return whether another step is due now.

        Call again until False: zmq.FD is edge-triggered, and a send can consume the event.
        """
        calls, now = self._calls, time.monotonic()
        if self._connection is None and now >= self._next_address:
            self._connect()
        if (connection := self._connection) is None:
            calls.expire(now)
            return False
        connection.update()
        calls.connected = connection.up and not connection.lost
        calls.refused = connection.refused and not connection.up
        if calls.connected:
            self._send(connection, now)
        messages = connection.socket.receive()
        for frames in messages:
            calls.received(frames, now)
        silent = not connection.up and now >= self._next_address and len(calls.addresses) > 1
        if silent or (connection.lost and not messages):
            self._disconnect()
            calls.next_address()
            self._connect()
        calls.expire(now)
        return bool(messages) or connection.lost

    def _send(self, connection: Connection, now: float) -> None:
        while batch := self._calls.next_batch(now):
            if not connection.socket.send([batch.message]):
                self._calls.put_back(batch)
                return

    def _disconnect(self) -> None:
        if self._connection:
            self._unwatch(self._connection)
            self._connection.close()
        self._connection = None
        self._calls.disconnected()

    def _connect(self) -> None:
        """Connect, or try again later if the system refuses."""
        calls = self._calls
        self._next_address = time.monotonic() + CONNECT_SECONDS
        try:
            self._connection = Connection(calls.address, calls.keys, heartbeats=len(calls.addresses) > 1)
        except OSError as error:
            logger.warning("The client cannot connect to the gateway (%s), and tries again.", error.strerror)
        else:
            self._watch(self._connection)

    def seconds_to_step(self) -> float:
        """Return the seconds until the next deadline or retry, or until the next attempt to connect."""
        calls, connection = self._calls, self._connection
        due = calls.next_time()
        if calls.waiting and (connection is None or (not connection.up and len(calls.addresses) > 1)):
            due = min(due, self._next_address)
        return max(0.0, due - time.monotonic())

    def close(self) -> None:
        """Close the connection, and finish all calls."""
        self._disconnect()
        self._calls.close()
