"""A registered worker: one process of a bus."""

from collections import defaultdict
from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.records import Heartbeat, Registration

from .clients import Client
from .request import Request

COMMANDS, QUERIES, PROJECTOR, REACTOR = "commandbus", "querybus", "projector", "reactor"
SHARED_PART, SHARED_MIN = 8, 16  # of a worker's credit, used while several clients share the bus


class Worker:
    """A registered worker, with its sendings in flight."""

    def __init__(self, id_: bytes, registration: Registration, now: float) -> None:
        self.id = id_
        self.dest = registration.dest
        self.instance_id = registration.instance_id
        self.registration = registration.registration
        self.pid = registration.pid
        self.credit = registration.credit
        self.deferred = 0
        self.identity = Identity(*registration.identity) if registration.identity else None
        self.position = registration.position
        self.active_since = registration.active_since  # None for a standby
        self.lock = registration.lock
        self.running = 0  # a slow handler
        self.status: dict[str, Any] = {}
        # By sending. A request that timed out remains here until the worker answers, because it still uses credit.
        self.in_flight: dict[int, Request] = {}
        self.last_seen = now
        self.silent = False  # connected, but heartbeats are overdue
        self.leaving = False
        self.slow = 0  # the slow sending that the worker runs alone; 0 for none
        self.slow_since = 0.0
        self.cancelling = False  # the slow sending has been cancelled

    def update(self, heartbeat: Heartbeat, now: float) -> None:
        """Update the worker's state from a heartbeat."""
        self.last_seen = now
        self.silent = False
        self.credit = heartbeat.credit
        deferred = heartbeat.status.get("deferred")
        self.deferred = deferred if type(deferred) is int else 0
        self.identity = Identity(*heartbeat.identity) if heartbeat.identity else None
        self.position = heartbeat.position
        self.running = heartbeat.running
        self.status = heartbeat.status

    @property
    def log_position(self) -> int | None:
        """The position of the log as seen by a projector, or None before the first report."""
        if self.running:  # it has seen the end of the log before the slow projection
            return None
        lag = self.status.get("lag_events")
        return self.position + lag if type(lag) is int else None

    @property
    def idle(self) -> bool:
        """Whether nothing runs: all queries in flight, if any, wait for a later position of the read model."""
        return not self.in_flight or (
            self.dest == QUERIES and all(request.needs > self.position for request in self.in_flight.values())
        )

    def capacity(self, clients: int) -> int:
        """Return how many more requests of so many active clients fit."""
        return self._most(clients) - len(self.in_flight)

    def room_by_client(self, clients: int) -> dict[Client, int] | None:
        """Return how many more requests of each client fit; None if there is no other client.

        A client with thousands of requests must not fill the queue of the worker between two requests of the others.
        """
        if clients < 2:
            return None
        most = self._most(clients)
        share = max(1, min(SHARED_MIN, most // 2), most // clients)
        room: dict[Client, int] = defaultdict(lambda: share)
        for request in self.in_flight.values():
            if not self.deferred or request.needs <= self.position:  # other sessions of its client go on
                room[request.client] -= 1
        return room

    def _most(self, clients: int) -> int:
        """Return the usable credit: several clients use a part, so that their turns are short.

        Deferred queries wait in the worker for a later position, and use no part.
        """
        if clients < 2:
            return self.credit
        return min(self.credit, self.deferred + max(SHARED_MIN, (self.credit - self.deferred) // SHARED_PART))

    def available(self, identity: Identity | None) -> bool:
        """Check whether the worker can be reached and belongs to the log."""
        if self.leaving or self.silent:
            return False
        return identity is None or self.identity is None or self.identity == identity

    def accepts(self, identity: Identity | None, clients: int, *, alone: bool) -> bool:
        """Check whether the worker is available and has capacity for a request, which may have to run `alone`."""
        if self.capacity(clients) <= 0 or self.slow or (alone and not self.idle):
            return False
        if self.in_flight and next(reversed(self.in_flight.values())).suspect:
            return False  # the last sending, since nothing is sent behind a suspect
        return self.available(identity)

    def remove(self, sending: int) -> Request | None:
        """Remove a sending that the worker has returned."""
        if sending == self.slow:
            self.slow, self.cancelling = 0, False
        return self.in_flight.pop(sending, None)
