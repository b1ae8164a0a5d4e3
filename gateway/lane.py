"""A lane of a bus: requests queued by client and served in turns: no client waits for another's whole queue."""

from collections import OrderedDict, deque
from collections.abc import Iterable

from .clients import Client
from .request import Request

Queue = deque[Request]


class Lane:
    """Queued requests. Answered requests are dropped at their turn."""

    def __init__(self) -> None:
        self.queued = 0
        self._queues: OrderedDict[Client, Queue] = OrderedDict()  # in the order of their turns

    @property
    def clients(self) -> int:
        """Return the number of clients with queued requests."""
        return len(self._queues)

    def queued_by(self, client: Client) -> int:
        """How much a client has queued."""
        return len(self._queues.get(client, ()))

    def has(self, client: Client) -> bool:
        """Tell whether a client has queued requests."""
        return client in self._queues

    def put(self, request: Request) -> None:
        """Queue a request behind those of the same client."""
        queue = self._queues.get(request.client)
        if queue is None:
            queue = self._queues[request.client] = deque()
        queue.append(request)
        self.queued += 1

    def put_in_order(self, requests: list[Request]) -> None:
        """Queue requests whose dest has become known, each before later requests of the same client."""
        for request in requests:
            self.put(request)
        for client in {request.client for request in requests}:
            self._queues[client] = in_order(self._queues[client])

    def take(self, most: int) -> list[Request]:
        """Remove the next requests, of each client in turn."""
        taken: list[Request] = []
        while self._queues and len(taken) < most:
            client, queue = next(iter(self._queues.items()))
            # A single client needs no turns.
            count = 1 if len(self._queues) > 1 else min(most - len(taken), len(queue))
            self.queued -= count
            for _ in range(count):
                request = queue.popleft()
                if not request.answered:
                    taken.append(request)
            if queue:
                self._queues.move_to_end(client)
            else:
                del self._queues[client]
        return taken

    def drop_answered(self) -> None:
        """Drop requests answered while queued."""
        for client in list(self._queues):
            kept = unanswered(self._queues[client])
            if kept:
                self._queues[client] = kept
            else:
                del self._queues[client]
        self.queued = sum(map(len, self._queues.values()))

    def drop_client(self, client: Client) -> None:
        """Drop the queued requests of a disconnected client."""
        self.queued -= len(self._queues.pop(client, ()))


def in_order(requests: Iterable[Request]) -> Queue:
    """Return requests in the order in which they arrived."""
    return deque(sorted(requests, key=lambda request: request.id))


def unanswered(queue: Queue) -> Queue:
    """Return the unanswered requests."""
    return deque(request for request in queue if not request.answered)
