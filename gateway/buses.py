"""Buses and their workers: who is there, what they were given, whose turn it is."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

from dualbus.wire import Beat, Greeting, Identity
from gateway.clients import Client
from gateway.request import Request

COMMANDS, QUERIES, PROJECTOR = "commandbus", "querybus", "projector"
PACE_SECONDS = 0.1
WINDOWS_MIN, WINDOWS_MAX = 3, 10
SILENT_SECONDS = 1.5  # without a beat: a worker counts as dead, and its requests go to another

Queue = deque[Request]


class Worker:
    """One process of a bus."""

    def __init__(self, id_: bytes, greeting: Greeting, now: float) -> None:
        self.id = id_
        self.dest = greeting.dest
        self.life = greeting.life
        self.pid = greeting.pid
        self.credit = greeting.credit
        self.identity = Identity(*greeting.identity) if greeting.identity else None
        self.position = greeting.position
        self.status: dict[str, Any] = {}
        self.in_flight: dict[int, Request] = {}  # also what was answered in its place: it holds its credit
        self.seen = now
        self.leaving = False

    def beat(self, beat: Beat, now: float) -> None:
        """Note a sign of life."""
        self.seen = now
        self.credit = beat.credit
        self.identity = Identity(*beat.identity) if beat.identity else None
        self.position = beat.position
        self.status.update(beat.status)

    @property
    def log_position(self) -> int | None:
        """Return how far a projector sees the log to be, once it has said so."""
        lag = self.status.get("lag_events")
        return self.position + lag if type(lag) is int else None

    @property
    def room(self) -> int:
        """How many more requests it takes."""
        return self.credit - len(self.in_flight)

    def takes(self, identity: Identity | None, *, alone: bool) -> bool:
        """Tell whether it takes another request that belongs to a log, which may have to be `alone` there."""
        given = len(self.in_flight)
        if self.leaving or given >= self.credit or (given and alone):
            return False
        if given == 1 and next(iter(self.in_flight.values())).suspect:
            return False
        return identity is None or self.identity is None or self.identity == identity


class Pace:
    """How many answers a second a bus gives while it is saturated.

    The best of the last second's windows: one that stumbles for a moment is not a slow one.
    """

    def __init__(self) -> None:
        self.per_second = 0.0  # until the bus has been saturated for long enough to tell
        self.counting = False
        self._windows: deque[float] = deque(maxlen=WINDOWS_MAX)
        self._since = 0.0
        self._done = 0
        self._saturated = False

    def note(self, done: int, *, saturated: bool, now: float) -> None:
        """Count answers, and say whether requests are waiting for room."""
        self.counting = saturated or self._saturated or bool(self._windows)
        if not self.counting:
            return
        self._done += done
        self._saturated = self._saturated and saturated
        if now - self._since < PACE_SECONDS or (self._saturated and not self._done):
            return
        if self._saturated:
            self._windows.append(self._done / (now - self._since))
        else:
            self._windows.clear()
        self.per_second = max(self._windows) if len(self._windows) >= WINDOWS_MIN else 0.0
        self._since, self._done, self._saturated = now, 0, saturated


class Bus:
    """What goes to one dest: requests by client, served in turn, and those to be sent again first."""

    def __init__(self, dest: str) -> None:
        self.dest = dest
        self.workers: dict[bytes, Worker] = {}
        self.types: set[str] = set()
        self.again: Queue = deque()
        self.queued = 0
        self.in_flight = 0  # at all its workers
        self.pace = Pace()
        self._turns: OrderedDict[Client, None] = OrderedDict()

    def put(self, request: Request) -> None:
        """Queue a request behind those of the same client."""
        queue = request.client.queues.get(self.dest)
        if queue is None:
            queue = request.client.queues[self.dest] = deque()
        queue.append(request)
        self.queued += 1
        self._turns[request.client] = None

    def put_again(self, requests: list[Request]) -> None:
        """Queue requests of a dead worker before all others, in the order in which they came."""
        self.again = _in_order([*self.again, *requests])
        self.queued += len(requests)

    def take(self, most: int) -> list[Request]:
        """Take what comes next and is not answered: what is to be sent again, then of each client in turn.

        One that is suspect comes alone.
        """
        taken: list[Request] = []
        while self.again and len(taken) < most and not (taken and self.again[0].suspect):
            self._move(self.again, 1, taken)
            if taken and taken[-1].suspect:
                return taken
        while self._turns and len(taken) < most and not self.again:
            client = next(iter(self._turns))
            queue = client.queues[self.dest]
            # Whoever is alone need not wait for a turn after each.
            self._move(queue, 1 if len(self._turns) > 1 else min(most - len(taken), len(queue)), taken)
            if queue:
                self._turns.move_to_end(client)
            else:
                del self._turns[client]
        return taken

    def _move(self, queue: Queue, count: int, taken: list[Request]) -> None:
        self.queued -= count
        for _ in range(count):
            request = queue.popleft()
            if not request.answered:
                taken.append(request)

    def put_in_order(self, requests: list[Request]) -> None:
        """Queue requests whose place has become known, each before those that its client sent later."""
        for request in requests:
            self.put(request)
        for client in {request.client for request in requests}:
            client.queues[self.dest] = _in_order(client.queues[self.dest])

    def drop_answered(self) -> None:
        """Let go of requests that were answered while they waited."""
        self.again = _unanswered(self.again)
        for client in list(self._turns):
            client.queues[self.dest] = _unanswered(client.queues[self.dest])
            if not client.queues[self.dest]:
                del self._turns[client]
        self.queued = len(self.again) + sum(len(client.queues[self.dest]) for client in self._turns)

    def drop_client(self, client: Client) -> None:
        """Let go of what a client that is gone has asked."""
        self.queued -= len(client.queues.pop(self.dest, ()))
        self._turns.pop(client, None)

    def count(self, done: int, now: float) -> None:
        """Count answers, for the pace: it is one while requests wait although there is someone to take them."""
        saturated = self.queued > 0 and bool(self.workers)
        if saturated or self.pace.counting:
            self.pace.note(done, saturated=saturated, now=now)

    def serves(self, client: Client, seconds: float) -> bool:
        """Estimate whether a request of the client that comes now is served within so many seconds.

        Of what is queued, others have only their turns before it.
        """
        before = self.pace.per_second * seconds  # so many are
        if not before or self.in_flight + self.queued <= before:
            return True
        turns = (len(client.queues.get(self.dest, ())) + 1) * (len(self._turns) + (client not in self._turns))
        return self.in_flight + len(self.again) + min(self.queued, turns) <= before

    def least_busy(self, identity: Identity | None) -> Worker | None:
        """Return the worker with the least in flight, of those that have room and belong to the log, if any."""
        while self.again and self.again[0].answered:
            self._move(self.again, 1, [])
        alone = bool(self.again) and self.again[0].suspect
        best: Worker | None = None
        for worker in self.workers.values():
            if worker.takes(identity, alone=alone) and (best is None or len(worker.in_flight) < len(best.in_flight)):
                best = worker
        return best


def _in_order(requests: Iterable[Request]) -> Queue:
    return deque(sorted(requests, key=lambda request: request.id))


def _unanswered(queue: Queue) -> Queue:
    return deque(request for request in queue if not request.answered)
