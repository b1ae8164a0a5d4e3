"""A bus: its workers, its queues, and the turns of its clients.

Requests of a slow type, whose handler has occupied a worker for long, wait in a lane of their own. Each of them has a
worker to itself, and one worker always remains for quick requests; a single worker serves slow and quick requests in
turn.
"""

from collections import deque
from collections.abc import Iterator

from dualbus.log.identity import Identity

from .clients import Client
from .lane import Lane, Queue, in_order, unanswered
from .request import Request
from .throughput import ThroughputEstimate
from .worker import Worker

COMMANDS, QUERIES, PROJECTOR = "commandbus", "querybus", "projector"
SHARED_SECONDS = 1.0  # for so long after several clients had requests queued
SLOW_SECONDS = 0.05  # a request answered within this time proves its type quick again


class Bus:
    """The requests to one dest."""

    def __init__(self, dest: str) -> None:
        self.dest = dest
        self.workers: dict[bytes, Worker] = {}
        self.types: set[str] = set()
        self.again: Queue = deque()  # to be sent again, before all others
        self.quick = Lane()
        self.slow = Lane()
        self.slow_types: set[str] = set()
        self.in_flight = 0  # at all workers
        self.shared = False  # several clients take turns
        self._shared_until = 0.0
        self.pace = ThroughputEstimate()
        self._reserved: Worker | None = None  # receives no quick requests, and a slow one when idle
        self._quick_next = False  # a single worker has just served a slow request

    @property
    def queued(self) -> int:
        """How many requests wait for a worker."""
        return len(self.again) + self.quick.queued + self.slow.queued

    def put(self, request: Request) -> None:
        """Queue a request behind those of the same client."""
        (self.slow if request.type in self.slow_types else self.quick).put(request)

    def put_again(self, requests: list[Request]) -> None:
        """Queue unanswered requests of a worker before all others, in the order of their arrival."""
        if requests:
            self.again = in_order([*self.again, *requests])

    def put_in_order(self, requests: list[Request]) -> None:
        """Queue requests whose dest has become known, each before later requests of the same client."""
        self.quick.put_in_order(requests)

    def drop_answered(self) -> None:
        """Drop requests answered while queued."""
        self.again = unanswered(self.again)
        self.quick.drop_answered()
        self.slow.drop_answered()

    def drop_client(self, client: Client) -> None:
        """Drop the queued requests of a disconnected client."""
        self.quick.drop_client(client)
        self.slow.drop_client(client)

    # Assignment.

    def note_turns(self, now: float) -> None:
        """Note whether several clients take turns. At a worker, requests wait without turns."""
        if self.quick.clients > 1:
            self._shared_until = now + SHARED_SECONDS
        self.shared = now < self._shared_until

    def assign(self, identity: Identity | None) -> tuple[Worker, list[Request]] | None:
        """Return a worker with room, and the requests to send; None without requests or without room."""
        if self.slow.queued and (worker := self._worker_for_slow(identity)):
            self._quick_next = True
            return worker, self.slow.take(1)
        if not (self.again or self.quick.queued):
            return None
        worker = self.least_busy(identity)
        if worker is None:
            return None
        self._quick_next = False
        share = -(-(len(self.again) + self.quick.queued) // len(self.workers))
        return worker, self._take(min(worker.room(shared=self.shared), share))

    def _take(self, most: int) -> list[Request]:
        """Remove the next requests: those to be sent again first, then of each client in turn. A suspect is alone."""
        taken: list[Request] = []
        while self.again and len(taken) < most and not (taken and self.again[0].suspect):
            request = self.again.popleft()
            if request.answered:
                continue
            if request.suspect:
                return [request]
            taken.append(request)
        if len(taken) < most and not self.again:
            taken += self.quick.take(most - len(taken))
        if self.slow_types:
            for request in taken:
                if request.type in self.slow_types:
                    self.slow.put(request)
            taken = [request for request in taken if request.type not in self.slow_types]
        return taken

    def least_busy(self, identity: Identity | None) -> Worker | None:
        """Return the worker with the fewest requests in flight, among those with room and with this log."""
        while self.again and self.again[0].answered:
            self.again.popleft()
        alone = bool(self.again) and self.again[0].suspect
        best: Worker | None = None
        for worker in self.workers.values():
            if worker is self._reserved or not worker.accepts(identity, alone=alone, shared=self.shared):
                continue
            if best is None or len(worker.in_flight) < len(best.in_flight):
                best = worker
        return best

    def _worker_for_slow(self, identity: Identity | None) -> Worker | None:
        """Return an idle worker for a slow request, or reserve a busy worker."""
        serving = [worker for worker in self.workers.values() if worker.serves(identity)]
        free = [worker for worker in serving if not worker.slow]
        if len(serving) == 1 and self._quick_next and (self.again or self.quick.queued):
            free = []
        if not free or (len(free) == 1 and len(serving) > 1):
            self._reserved = None
            return None
        if self._reserved not in free:
            self._reserved = min(free, key=lambda worker: len(worker.in_flight))
        if self._reserved.in_flight or not self._reserved.credit:
            return None
        worker, self._reserved = self._reserved, None
        return worker

    # Which types are slow.

    def note_slow(self, worker: Worker, sending: int, now: float) -> None:
        """Note a long-running handler: the worker receives no other requests, and the type counts as slow."""
        request = worker.in_flight.get(sending)
        if request and not worker.slow:
            worker.slow, worker.slow_since = sending, now - SLOW_SECONDS
            self.slow_types.add(request.type)

    def note_quick(self, request: Request) -> None:
        """Note a quick answer to a request of the slow lane: its type counts as quick again."""
        self.slow_types.discard(request.type)
        if not self.slow_types:
            for waiting in self.slow.take(self.slow.queued):
                self.quick.put(waiting)

    def to_cancel(self, identity: Identity | None) -> Iterator[Worker]:
        """Yield the worker whose slow request must stop, where slow requests occupy every worker."""
        serving = [worker for worker in self.workers.values() if worker.serves(identity)]
        if len(serving) < 2 or not all(worker.slow for worker in serving):
            return
        if (self.again or self.quick.queued) and not any(worker.cancelling for worker in serving):
            yield max(serving, key=lambda worker: worker.slow_since)

    # Throughput.

    def count(self, done: int, now: float) -> None:
        """Count answers for the estimate, which is valid while requests wait although the bus has workers."""
        saturated = bool(self.workers) and self.queued > 0
        if saturated or self.pace.counting:
            self.pace.note(done, saturated=saturated, now=now)

    def serves(self, client: Client, seconds: float) -> bool:
        """Estimate whether a new request of the client is served within so many seconds.

        Of the queued requests of other clients, only their turns come before it.
        """
        before = self.pace.per_second * seconds  # so many are
        if not before or self.in_flight + self.queued <= before:
            return True
        turns = (self.quick.queued_by(client) + 1) * (self.quick.clients + (not self.quick.has(client)))
        return self.in_flight + len(self.again) + min(self.queued, turns) <= before
