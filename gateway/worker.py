"""A registered process of a bus."""

from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.records import Heartbeat, Registration

from .request import Request

SHARED_PART, SHARED_MIN = 8, 16  # of its credit, where several clients take turns


class Worker:
    """A worker, with its requests in flight."""

    def __init__(self, id_: bytes, greeting: Registration, now: float) -> None:
        self.id = id_
        self.dest = greeting.dest
        self.instance_id = greeting.instance_id
        self.registration = greeting.registration
        self.pid = greeting.pid
        self.credit = greeting.credit
        self.identity = Identity(*greeting.identity) if greeting.identity else None
        self.position = greeting.position
        self.status: dict[str, Any] = {}
        self.in_flight: dict[
            int, Request
        ] = {}  # by sending; requests answered meanwhile by the gateway still use credit
        self.seen = now
        self.silent = False  # connected, with heartbeats overdue
        self.leaving = False
        self.slow = 0  # the sending that occupies the worker, if any
        self.slow_since = 0.0
        self.cancelling = False  # the cancellation of that sending was sent

    def beat(self, beat: Heartbeat, now: float) -> None:
        """Note a sign of life."""
        self.seen = now
        self.silent = False
        self.credit = beat.credit
        self.identity = Identity(*beat.identity) if beat.identity else None
        self.position = beat.position
        self.status = beat.status

    @property
    def log_position(self) -> int | None:
        """Return the position of the log in a projector's report, if any."""
        lag = self.status.get("lag_events")
        return self.position + lag if type(lag) is int else None

    def room(self, *, shared: bool) -> int:
        """Return how many more requests fit; few while clients share the worker, for frequent turns."""
        most = min(self.credit, max(SHARED_MIN, self.credit // SHARED_PART)) if shared else self.credit
        return most - len(self.in_flight)

    def serves(self, identity: Identity | None) -> bool:
        """Tell whether the worker is reachable and belongs to a log."""
        if self.leaving or self.silent:
            return False
        return identity is None or self.identity is None or self.identity == identity

    def accepts(self, identity: Identity | None, *, alone: bool, shared: bool) -> bool:
        """Tell whether the worker has room for a request of a log, `alone` or among others."""
        count = len(self.in_flight)
        if self.room(shared=shared) <= 0 or self.slow or (count and alone):
            return False
        if count == 1 and next(iter(self.in_flight.values())).suspect:
            return False
        return self.serves(identity)

    def remove(self, sending: int) -> Request | None:
        """Remove an answered or returned sending."""
        if sending == self.slow:
            self.slow, self.cancelling = 0, False
        return self.in_flight.pop(sending, None)
