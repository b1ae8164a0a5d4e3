"""The calls of a client and its connection to the gateway: sends what may be sent, takes in what has come."""

import os
import random
import secrets
import time
from collections.abc import Callable

from dualbus.client.calls import PendingCalls
from dualbus.runtime.settings import Settings
from dualbus.transport.sockets import Connection


def new_calls(address: str | None, src: str | None, timeout: float | None) -> PendingCalls:
    """Make the calls of a client; what it is not given, the settings say. Raises ConfigError."""
    settings = Settings.from_env(os.environ | ({"DUALBUS_FRONT": address} if address else {}))
    seconds = settings.timeout_ms / 1000 if timeout is None else timeout
    return PendingCalls(settings.front, src, seconds, random.random, lambda: secrets.token_urlsafe(12))


class ClientSession:
    """What both clients do, each in its own loop. `watch` is told of every new connection, `unwatch` of its end."""

    def __init__(
        self, calls: PendingCalls, watch: Callable[[Connection], None], unwatch: Callable[[Connection], None]
    ) -> None:
        self._calls = calls
        self._watch = watch
        self._unwatch = unwatch
        self._connection = Connection(calls.address)
        watch(self._connection)

    def turn(self) -> bool:
        """Do what there is to do; return whether there is more of it.

        Whoever watches the connection's descriptors must call again until there is not: sending may use up the
        sign that something has come.
        """
        calls, connection, now = self._calls, self._connection, time.monotonic()
        connection.update()
        calls.connected = connection.up and not connection.lost
        if calls.connected:
            self._send(now)
        messages = connection.socket.receive()
        for frames in messages:
            calls.received(frames, now)
        if connection.lost and not messages:
            self._connect_anew()
        calls.expire(now)
        return bool(messages) or connection.lost

    def _send(self, now: float) -> None:
        while batch := self._calls.next_batch(now):
            if not self._connection.socket.send(batch.frames):
                self._calls.put_back(batch)
                return

    def _connect_anew(self) -> None:
        self._calls.disconnected()
        self._unwatch(self._connection)
        self._connection.close()
        self._connection = Connection(self._calls.address)
        self._watch(self._connection)

    def seconds(self) -> float:
        """How long there is until the next turn is needed, if nothing comes before that."""
        return max(0.0, self._calls.next_time() - time.monotonic())

    def close(self) -> None:
        """Close the connection, and tell all callers that are left."""
        self._unwatch(self._connection)
        self._connection.close()
        self._calls.close()
