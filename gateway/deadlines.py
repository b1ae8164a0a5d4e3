"""The pending requests (accepted and not answered), their deadlines, and the limits per client and in total."""

import heapq
from collections.abc import Iterator

from .clients import Client
from .request import Request

REQUESTS_MAX, REQUEST_BYTES_MAX = (
    10_000,
    16 << 20,
)  # of a connection, or of all with a named key
ALL_REQUESTS_MAX, ALL_REQUEST_BYTES_MAX = 50_000, 64 << 20
NEVER = float("inf")
GRACE_SECONDS = 0.1  # after the deadline of a request in flight: the answer of the bus is more precise than a timeout
LATE_MAX = 64  # returned at once, so that many deadlines at the same time do not occupy the gateway
STALE_MAX = 1000  # deadlines of answered requests, beyond the number of pending requests


class PendingRequests:
    """Pending requests by id. Each is removed once, with its answer."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_id: dict[int, Request] = {}
        self._deadlines: list[tuple[float, int]] = []  # a heap, with ids; some requests are answered already

    def full(self, client: Client) -> bool:
        """Check whether a client has reached its limit, which is at most the capacity left for all clients."""
        usage = client.usage
        return (
            usage.requests >= REQUESTS_MAX
            or usage.bytes >= REQUEST_BYTES_MAX
            or usage.requests + len(self._by_id) >= ALL_REQUESTS_MAX
            or usage.bytes + self.bytes >= ALL_REQUEST_BYTES_MAX
        )

    def add(self, request: Request) -> None:
        """Add an accepted request."""
        client, size = request.client, len(request.body)
        client.requests += 1
        client.usage.requests += 1
        client.usage.bytes += size
        request.session.pending += 1
        self.bytes += size
        self._by_id[request.id] = request
        heapq.heappush(self._deadlines, (request.deadline, request.id))

    def remove(self, request: Request) -> None:
        """Remove a request and mark it as answered."""
        client, size = request.client, len(request.body)
        client.requests -= 1
        client.usage.requests -= 1
        client.usage.bytes -= size
        request.session.pending -= 1
        self.bytes -= size
        del self._by_id[request.id]
        request.answered = True

    def late(self, now: float) -> list[Request]:
        """Return requests whose deadline has passed, at most LATE_MAX."""
        if len(self._deadlines) > 2 * len(self._by_id) + STALE_MAX:
            self._deadlines = [(pending.deadline, pending.id) for pending in self]
            heapq.heapify(self._deadlines)
        late: list[Request] = []
        while self._deadlines and self._deadlines[0][0] <= now and len(late) < LATE_MAX:
            end, id_ = heapq.heappop(self._deadlines)
            request = self._by_id.get(id_)
            if request is None:
                continue
            if request.sent and end < request.deadline + GRACE_SECONDS:
                heapq.heappush(self._deadlines, (request.deadline + GRACE_SECONDS, id_))
            else:
                late.append(request)
        return late

    def seconds_to_deadline(self, now: float) -> float:
        """Return the seconds until `late` must be called again."""
        return max(0.0, self._deadlines[0][0] - now) if self._deadlines else NEVER

    def __iter__(self) -> Iterator[Request]:
        """Iterate over a copy: answering a request removes requests."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)
