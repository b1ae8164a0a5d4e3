"""Wait for sockets, for file descriptors, and for the request to stop."""

import math
import os
import select
import time
from contextlib import suppress

from dualbus.runtime.signals import Stop
from dualbus.transport.sockets import Socket

SPIN_SECONDS = 0.0004
SHORT_WAITS = 2
_SECONDS_MAX = 86_400.0  # poll(2) counts milliseconds in an int


class Poll:
    """Waits until a socket or a file descriptor is readable, or the process must stop.

    The descriptor of a ZeroMQ socket only signals that the state of the socket may have changed. zmq.Poller therefore
    checks the state of every socket, twice per turn; this class checks only sockets with a signal or after a send.

    With `spins`, a wait polls without sleeping for up to SPIN_SECONDS, if the previous waits were that short: waking
    up costs a third of the time of a query. Between two polls, other threads and processes may run.
    """

    def __init__(self, *readable: Socket | int, stop: Stop | None = None, spins: bool = False) -> None:
        self._poll = select.poll()
        self._sockets: dict[int, Socket] = {}  # by descriptor
        self._stop = stop
        self._spins = spins
        self._short_waits = 0  # in a row
        for source in readable:
            self.watch(source, read=True)
        if stop:
            self.watch(stop.wakeup, read=True)
            for sign, event in stop.signs.items():
                self._poll.register(sign, event)

    def watch(self, source: Socket | int, *, read: bool = False, write: bool = False) -> None:
        """Set the events to wait for; without `read` and `write`, ignore the source."""
        descriptor = source if isinstance(source, int) else source.zmq.fileno()
        if isinstance(source, Socket):
            self._sockets[descriptor] = source
        if read or write:
            self._poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        else:
            with suppress(KeyError):
                self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> set[Socket | int]:
        """Wait for at most `seconds`; return the ready sockets and descriptors. A socket may have no message."""
        ready: set[Socket | int] = {socket for socket in self._sockets.values() if socket.has_unsignalled}
        found = self._poll.poll(0) if ready or seconds <= 0 else self._found(seconds)
        for descriptor, _ in found:
            ready.add(self._sockets.get(descriptor, descriptor))
        if self._stop and self._stop.wakeup in ready:
            self._stop.clear()
        if self._stop and (signs := self._stop.signs.keys() & ready):
            self._stop.requested = True
            for sign in signs:
                self._poll.unregister(sign)  # the descriptor stays ready permanently
        return ready

    def _found(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for descriptors; return the ready descriptors with their events."""
        # Round up: a wait that ends too early causes an idle turn.
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
