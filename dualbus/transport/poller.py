"""Waits for sockets, descriptors and the request to stop."""

import math
import os
import select
import time
from contextlib import suppress

from dualbus.runtime.signals import Stop
from dualbus.transport.sockets import Socket

SPIN_SECONDS = 0.0004
SHORT_WAITS = 2
_SECONDS_MAX = 86_400.0  # which a poll can count in milliseconds


class Poll:
    """Waits until a socket or a file descriptor is readable, or a stop is requested.

    A ZeroMQ socket's descriptor is edge-triggered: on an event the socket's state must be checked. pyzmq's poll
    checks every socket twice per turn; this poll checks a socket only if its state may have changed.

    With `spins`, a poll woken quickly the last times checks repeatedly for a moment before it sleeps: a wake-up costs
    a third of a query's time. Meanwhile it yields the processor to other processes.
    """

    def __init__(self, *readable: Socket | int, stop: Stop | None = None, spins: bool = False) -> None:
        self._poll = select.poll()
        self._sockets: dict[int, Socket] = {}  # by descriptor
        self._stop = stop
        self._spins = spins
        self._short_waits = 0  # in a row
        for one in readable:
            self.watch(one, read=True)
        if stop:
            self.watch(stop.wakeup, read=True)
            for sign, event in stop.signs.items():
                self._poll.register(sign, event)

    def watch(self, one: Socket | int, *, read: bool = False, write: bool = False) -> None:
        """Change the awaited events of a descriptor; remove the descriptor with neither."""
        descriptor = one if isinstance(one, int) else one.zmq.fileno()
        if isinstance(one, Socket):
            self._sockets[descriptor] = one
        if read or write:
            self._poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        else:
            with suppress(KeyError):
                self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> set[Socket | int]:
        """Wait up to so many seconds; return the readable sockets and descriptors. A socket may prove empty."""
        ready: set[Socket | int] = {socket for socket in self._sockets.values() if socket.overlooked}
        found = self._poll.poll(0) if ready or seconds <= 0 else self._found(seconds)
        for descriptor, _ in found:
            ready.add(self._sockets.get(descriptor, descriptor))
        if self._stop and self._stop.wakeup in ready:
            self._stop.clear()
        if self._stop and (signs := self._stop.signs.keys() & ready):
            self._stop.told = True
            for sign in signs:
                self._poll.unregister(sign)  # otherwise readable permanently
        return ready

    def _found(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for descriptors; return the ready ones with their events."""
        # In whole milliseconds, rounded up: no turns without work.
        milliseconds = math.ceil(min(seconds, _SECONDS_MAX) * 1000)
        if not self._spins:
            return self._poll.poll(milliseconds)
        began = time.monotonic()
        found = self._spin(began + SPIN_SECONDS) if self._short_waits >= SHORT_WAITS else []
        found = found or self._poll.poll(milliseconds)
        self._short_waits = self._short_waits + 1 if time.monotonic() - began < SPIN_SECONDS else 0
        return found

    def _spin(self, until: float) -> list[tuple[int, int]]:
        while time.monotonic() < until:
            if found := self._poll.poll(0):
                return found
            os.sched_yield()
        return []
