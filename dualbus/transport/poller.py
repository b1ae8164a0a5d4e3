"""What a process waits with: for its sockets, for descriptors, and to be told to stop."""

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
    """Waits until one of its sockets or file descriptors can be read, or the process is told to stop.

    A ZeroMQ socket has a descriptor that becomes readable when something happens to it, and then must be asked
    what. pyzmq's own poll asks every socket, twice a turn; this one asks only where it can matter.

    One that `spins` looks again and again for a moment before it sleeps, if it was woken within that moment the
    last times: to be woken takes a third of the time that a query takes. Whoever else wants the processor gets it.
    """

    def __init__(self, *readable: Socket | int, stop: Stop | None = None, spins: bool = False) -> None:
        self._poll = select.poll()
        self._sockets: dict[int, Socket] = {}  # by descriptor
        self._stop = stop
        self._spins = spins
        self._short_waits = 0  # one after another
        for one in readable:
            self.watch(one, read=True)
        if stop:
            self.watch(stop.wakeup, read=True)
            for sign, event in stop.signs.items():
                self._poll.register(sign, event)

    def watch(self, one: Socket | int, *, read: bool = False, write: bool = False) -> None:
        """Change what is waited for; with neither, nothing."""
        descriptor = one if isinstance(one, int) else one.zmq.fileno()
        if isinstance(one, Socket):
            self._sockets[descriptor] = one
        if read or write:
            self._poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        else:
            with suppress(KeyError):
                self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> set[Socket | int]:
        """Wait up to that long; return what is ready. A socket may turn out to have nothing."""
        ready: set[Socket | int] = {socket for socket in self._sockets.values() if socket.overlooked}
        found = self._poll.poll(0) if ready or seconds <= 0 else self._found(seconds)
        for descriptor, _ in found:
            ready.add(self._sockets.get(descriptor, descriptor))
        if self._stop and self._stop.wakeup in ready:
            self._stop.clear()
        if self._stop and (signs := self._stop.signs.keys() & ready):
            self._stop.told = True
            for sign in signs:
                self._poll.unregister(sign)  # it would say so for ever
        return ready

    def _found(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for descriptors; return those that are ready, with what they are ready for."""
        # In whole milliseconds, and rather one more than turns with nothing to do.
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
