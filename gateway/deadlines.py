"""The pending requests (accepted and not answered), their deadlines, and the limits per client and in total."""

from collections.abc import Iterator

from .clients import Client
from .request import Request

REQUESTS_MAX, REQUEST_BYTES_MAX = 10_000, 16 << 20  # of one client
ALL_REQUESTS_MAX, ALL_REQUEST_BYTES_MAX = 50_000, 64 << 20
GRACE_SECONDS = 0.1  # after the deadline of a request in flight: the answer of the bus is more precise than a timeout
SECONDS_A_REQUEST = 5e-6  # between two checks of all deadlines: about ten times the cost of a check
NEVER = float("inf")


class PendingRequests:
    """Pending requests by id. Each is removed once, with its answer."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_id: dict[int, Request] = {}
        self._next_deadline = NEVER

    def full(self, client: Client) -> bool:
        """Check whether a client has reached its limit, which is at most the capacity left for all clients."""
        return (
            client.requests >= REQUESTS_MAX
            or client.bytes >= REQUEST_BYTES_MAX
            or client.requests + len(self._by_id) >= ALL_REQUESTS_MAX
            or client.bytes + self.bytes >= ALL_REQUEST_BYTES_MAX
        )

    def add(self, request: Request) -> None:
        """Add an accepted request."""
        client, size = request.client, len(request.body)
        client.requests += 1
        client.bytes += size
        request.session.pending += 1
        self.bytes += size
        self._by_id[request.id] = request
        if request.deadline < self._next_deadline:
            self._next_deadline = request.deadline

    def remove(self, request: Request) -> None:
        """Remove a request and mark it as answered."""
        client, size = request.client, len(request.body)
        client.requests -= 1
        client.bytes -= size
        request.session.pending -= 1
        self.bytes -= size
        del self._by_id[request.id]
        request.answered = True

    def late(self, now: float) -> list[Request]:
        """Return the requests whose deadline has passed."""
        if now < self._next_deadline:
            return []
        ends = [(_end(request), request) for request in self._by_id.values()]
        # The cost of a check grows with the number of requests, so the pause between checks does as well.
        self._next_deadline = max(
            min((end for end, _ in ends if end > now), default=NEVER), now + len(ends) * SECONDS_A_REQUEST
        )
        return [request for end, request in ends if end <= now]

    def seconds_to_deadline(self, now: float) -> float:
        """Return the seconds until `late` must be called again."""
        return max(0.0, self._next_deadline - now)

    def __iter__(self) -> Iterator[Request]:
        """Iterate over a copy: answering a request removes requests."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)


def _end(request: Request) -> float:
    return request.deadline + (GRACE_SECONDS if request.sent else 0)
