"""One process of a bus, as the gateway knows it."""

from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.records import Heartbeat, Registration

from .request import Request

SHARED_PART, SHARED_MIN = 8, 16  # of its credit, where several clients take turns


class Worker:
    """A registered worker, with the sendings that it has not answered."""

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
        ] = {}  # by sending; also what was answered in its place: it holds its credit
        self.seen = now
        self.silent = False  # its connection holds, and its beats are overdue
        self.leaving = False
        self.slow = 0  # the sending that keeps it from all others, if one does
        self.slow_since = 0.0
        self.cancelling = False  # it was told to stop that one

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
        """Return how far a projector sees the log to be, once it has reported that."""
        lag = self.status.get("lag_events")
        return self.position + lag if type(lag) is int else None

    def room(self, *, shared: bool) -> int:
        """How many more requests it can be sent; little where clients share it, so that each has a turn soon."""
        most = min(self.credit, max(SHARED_MIN, self.credit // SHARED_PART)) if shared else self.credit
        return most - len(self.in_flight)

    def serves(self, identity: Identity | None) -> bool:
        """Tell whether it serves a log, and can be reached."""
        if self.leaving or self.silent:
            return False
        return identity is None or self.identity is None or self.identity == identity

    def accepts(self, identity: Identity | None, *, alone: bool, shared: bool) -> bool:
        """Tell whether it has room for a request that belongs to a log, and may have to be `alone` there."""
        count = len(self.in_flight)
        if self.room(shared=shared) <= 0 or self.slow or (count and alone):
            return False
        if count == 1 and next(iter(self.in_flight.values())).suspect:
            return False
        return self.serves(identity)

    def remove(self, sending: int) -> Request | None:
        """Remove a sending that it has answered or returned."""
        if sending == self.slow:
            self.slow, self.cancelling = 0, False
        return self.in_flight.pop(sending, None)
