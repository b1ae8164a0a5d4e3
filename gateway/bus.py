"""A bus: its workers, the requests queued for them, and the order of sending.

Clients share a bus by round robin. A type of request with a long-running handler is slow, and its requests are queued
in a separate lane. A worker runs a slow request alone, and at least one worker always remains for quick requests. The
only worker of a bus alternates between slow and quick requests.
"""

from collections import deque
from collections.abc import Iterator

from dualbus.log.identity import Identity

from .clients import Client
from .lane import Lane, Queue, in_order, unanswered
from .request import Request
from .worker import Worker

SHARED_SECONDS = 1.0  # a bus remains shared for this long after several clients had requests queued
SLOW_SECONDS = 0.05  # a slow type that is answered faster becomes quick again


class Bus:
    """The workers and queues of one dest."""

    def __init__(self, dest: str) -> None:
        self.dest = dest
        self.workers: dict[bytes, Worker] = {}
        self.standbys: dict[bytes, Worker] = {}  # registered command buses without work
        self.types: set[str] = set()
        self.requeued: Queue = deque()  # returned or lost by a worker; sent before all others
        self.quick = Lane()
        self.slow = Lane()
        self.slow_types: set[str] = set()
        self.clients = 1  # that share the bus: a worker's own queue is FIFO, so sharing limits it
        self._shared_until = 0.0
        self._active: set[Client] = set()  # with requests, in the current period of SHARED_SECONDS
        self._active_before: set[Client] = set()  # in the previous period
        self._period_end = 0.0
        self._reserved: Worker | None = None  # receives no more quick requests, and a slow request once idle
        self._quick_next = False  # the only worker has just run a slow request

    @property
    def registered(self) -> list[Worker]:
        """All workers, standbys included."""
        return [*self.workers.values(), *self.standbys.values()]

    def worker(self, id_: bytes) -> Worker | None:
        """Return the registered worker of a connection."""
        return self.workers.get(id_) or self.standbys.get(id_)

    def add(self, worker: Worker) -> None:
        """Add a registered worker."""
        (self.workers if worker.active_since is not None else self.standbys)[worker.id] = worker

    def remove(self, worker: Worker) -> None:
        """Remove a worker."""
        (self.workers if worker.id in self.workers else self.standbys).pop(worker.id)

    @property
    def queued(self) -> int:
        """The number of requests that wait for a worker."""
        return len(self.requeued) + self.quick.queued + self.slow.queued

    def put(self, request: Request) -> None:
        """Queue a request behind those of the same client."""
        (self.slow if request.type in self.slow_types else self.quick).put(request)

    def requeue(self, requests: list[Request]) -> None:
        """Queue requests that a worker did not answer before all others, in the order of arrival."""
        if requests:
            self.requeued = in_order([*self.requeued, *requests])

    def put_in_order(self, requests: list[Request]) -> None:
        """Queue requests whose dest has just been found, each before later requests of the same client."""
        self.quick.put_in_order(requests)

    def drop_answered(self) -> None:
        """Drop queued requests that have been answered, e.g. timed out."""
        self.requeued = unanswered(self.requeued)
        self.quick.drop_answered()
        self.slow.drop_answered()

    def drop_client(self, client: Client) -> None:
        """Drop the queued requests of a disconnected client."""
        self.quick.drop_client(client)
        self.slow.drop_client(client)

    # Assign requests to workers.

    def update_shared(self, now: float) -> None:
        """Update the number of clients that share the bus."""
        if len(self.quick.clients) > 1:
            self._shared_until = now + SHARED_SECONDS
        if now >= self._shared_until:
            self.clients = 1
            return
        if now >= self._period_end:
            self._active, self._active_before = set(), self._active
            self._period_end = now + SHARED_SECONDS
        self._active.update(self.quick.clients)
        self.clients = max(2, len(self._active), len(self._active_before))

    def assign(self, identity: Identity | None) -> tuple[Worker, list[Request]] | None:
        """Return a worker with capacity and the requests to send to the worker; None without capacity or requests."""
        if not self.slow.queued:
            self._reserved = None  # its slow request timed out, or is quick now
        elif worker := self._worker_for_slow(identity):
            self._quick_next = True
            return worker, self.slow.pop(1)
        if not (self.requeued or self.quick.queued):
            return None
        worker = self.least_busy(identity)
        if worker is None:
            return None
        self._quick_next = False
        share = -(-(len(self.requeued) + self.quick.queued) // len(self.workers))
        requests = self._pop(min(worker.capacity(self.clients), share), worker)
        return (worker, self._without_slow(requests)) if requests else None

    def _pop(self, most: int, worker: Worker) -> list[Request]:
        """Remove the next requests: the requeued first, then of each client in turn. A suspect is returned alone."""
        requests: list[Request] = []
        while self.requeued and len(requests) < most and not (requests and self.requeued[0].suspect):
            request = self.requeued.popleft()
            if request.answered:
                continue
            requests.append(request)
            if request.suspect:
                return requests
        if len(requests) < most and not self.requeued:
            requests += self.quick.pop(most - len(requests), worker.room_by_client(self.clients))
        return requests

    def _without_slow(self, requests: list[Request]) -> list[Request]:
        """Move the requests of slow types to their lane, and return the others."""
        if self.slow_types:
            for request in requests:
                if request.type in self.slow_types:
                    self.slow.put(request)
            requests = [request for request in requests if request.type not in self.slow_types]
        return requests

    def least_busy(self, identity: Identity | None) -> Worker | None:
        """Return the worker of the log with the fewest requests in flight, or None if no worker has capacity."""
        while self.requeued and self.requeued[0].answered:
            self.requeued.popleft()
        alone = bool(self.requeued) and self.requeued[0].suspect
        best: Worker | None = None
        clients = self.clients
        for worker in self.workers.values():
            if worker is self._reserved or not worker.accepts(identity, clients, alone=alone):
                continue
            if best is None or len(worker.in_flight) < len(best.in_flight):
                best = worker
        return best

    def _worker_for_slow(self, identity: Identity | None) -> Worker | None:
        """Return an idle worker for a slow request, or reserve the least busy worker and return None."""
        available = [worker for worker in self.workers.values() if worker.available(identity)]
        free = [worker for worker in available if not worker.slow]
        if len(available) == 1 and self._quick_next and (self.requeued or self.quick.queued):
            free = []
        if not free or (len(free) == 1 and len(available) > 1):
            self._reserved = None
            return None
        if self._reserved not in free:
            self._reserved = min(free, key=lambda worker: len(worker.in_flight))
        if not self._reserved.idle or self._reserved.capacity(self.clients) <= 0:
            return None
        worker, self._reserved = self._reserved, None
        return worker

    # Slow types.

    def mark_slow(self, worker: Worker, sending: int, now: float) -> None:
        """Mark the type of a long-running sending as slow, and send its worker nothing else meanwhile."""
        request = worker.in_flight.get(sending)
        if request and not worker.slow:
            worker.slow, worker.slow_since = sending, now - SLOW_SECONDS
            self.slow_types.add(request.type)

    def mark_quick(self, request: Request) -> None:
        """Mark the type of a slow request as quick again, because the answer arrived quickly."""
        self.slow_types.discard(request.type)
        if not self.slow_types:
            for queued in self.slow.pop(self.slow.queued):
                self.quick.put(queued)

    def to_cancel(self, identity: Identity | None) -> Iterator[Worker]:
        """Yield the worker to cancel: quick requests are queued, and every worker runs a slow request."""
        available = [worker for worker in self.workers.values() if worker.available(identity)]
        if len(available) < 2 or not all(worker.slow for worker in available):
            return
        if (self.requeued or self.quick.queued) and not any(worker.cancelling for worker in available):
            yield max(available, key=lambda worker: worker.slow_since)

    # Throughput.

    @property
    def measuring(self) -> bool:
        """Whether the throughput of a lane is measured now."""
        return self.quick.throughput.counting or self.slow.throughput.counting or self.queued > 0

    def record_answers(self, quick: int, slow: int, now: float) -> None:
        """Record answers for the throughput of the lanes: a lane with workers and queued requests is saturated."""
        waiting = self.quick.queued + len(self.requeued)
        self.quick.record_answers(quick, saturated=bool(self.workers) and waiting > 0, now=now)
        self.slow.record_answers(slow, saturated=bool(self.workers) and self.slow.queued > 0, now=now)

    def can_serve(self, type_: str, client: Client, seconds: float) -> bool:
        """Estimate whether a request of the client that arrives now is served within `seconds`.

        Slow and quick requests have different workers, except at the only worker, so each lane has its own estimate.
        """
        slow = type_ in self.slow_types
        lane = self.slow if slow else self.quick
        if not lane.throughput.per_second:
            return True
        workers = [worker for worker in self.workers.values() if bool(worker.slow) == slow]
        in_flight = sum(max(0, len(worker.in_flight) - worker.deferred) for worker in workers)
        return lane.can_serve(client, seconds, in_flight if slow else in_flight + len(self.requeued))
