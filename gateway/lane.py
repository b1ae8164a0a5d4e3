"""A lane of a bus: requests by client, sent in turn (round robin), and the throughput of these requests."""

from collections import OrderedDict, deque
from collections.abc import Iterable, KeysView

from .clients import Client
from .request import Request
from .throughput import ThroughputEstimate

Queue = deque[Request]


class Lane:
    """Queued requests. Answered requests are dropped on `pop`."""

    def __init__(self) -> None:
        self.queued = 0
        self.throughput = ThroughputEstimate()
        self._queues: OrderedDict[Client, Queue] = OrderedDict()  # in the order of turns

    @property
    def clients(self) -> KeysView[Client]:
        """The clients with queued requests."""
        return self._queues.keys()

    def queued_by(self, client: Client) -> int:
        """Return the number of requests queued by a client."""
        return len(self._queues.get(client, ()))

    def record_answers(self, count: int, *, saturated: bool, now: float) -> None:
        """Record answers for the throughput estimate."""
        if saturated or self.throughput.counting:
            self.throughput.record(count, saturated=saturated, now=now)

    def can_serve(self, client: Client, seconds: float, before: int) -> bool:
        """Estimate whether a request of the client that arrives now is served within `seconds`.

        So many requests are served `before` all queued requests. Of the requests queued by other clients, only those
        of earlier turns are served first.
        """
        served = self.throughput.per_second * seconds
        if before + self.queued <= served:
            return True
        turns = (self.queued_by(client) + 1) * (len(self._queues) + (client not in self._queues))
        return before + min(self.queued, turns) <= served

    def put(self, request: Request) -> None:
        """Queue a request behind those of the same client."""
        queue = self._queues.get(request.client)
        if queue is None:
            queue = self._queues[request.client] = deque()
        queue.append(request)
        self.queued += 1

    def put_in_order(self, requests: list[Request]) -> None:
        """Queue requests whose dest has just been found, each before later requests of the same client."""
        for request in requests:
            self.put(request)
        for client in {request.client for request in requests}:
            self._queues[client] = in_order(self._queues[client])

    def pop(self, most: int, room: dict[Client, int] | None = None) -> list[Request]:
        """Remove and return the next requests, of each client in turn, while the client has `room`."""
        requests: list[Request] = []
        skipped = 0
        while skipped < len(self._queues) and len(requests) < most:
            client, queue = next(iter(self._queues.items()))
            count = 1
            if room is None and len(self._queues) == 1:
                count = min(most - len(requests), len(queue))  # the only client needs no turns
            elif room is not None and room[client] <= 0:
                count = 0
            skipped = 0 if count else skipped + 1
            self.queued -= count
            for _ in range(count):
                request = queue.popleft()
                if not request.answered:
                    requests.append(request)
                    if room is not None:
                        room[client] -= 1
            if queue:
                self._queues.move_to_end(client)
            else:
                del self._queues[client]
        return requests

    def drop_answered(self) -> None:
        """Drop queued requests that have been answered, e.g. timed out."""
        for client in list(self._queues):
            remaining = unanswered(self._queues[client])
            if remaining:
                self._queues[client] = remaining
            else:
                del self._queues[client]
        self.queued = sum(map(len, self._queues.values()))

    def drop_client(self, client: Client) -> None:
        """Drop the queued requests of a disconnected client."""
        self.queued -= len(self._queues.pop(client, ()))


def in_order(requests: Iterable[Request]) -> Queue:
    """Return requests in the order of arrival."""
    return deque(sorted(requests, key=lambda request: request.id))


def unanswered(queue: Queue) -> Queue:
    """Return the requests that have not been answered."""
    return deque(request for request in queue if not request.answered)
