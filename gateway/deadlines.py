"""Unanswered requests, their deadlines, and their bounds."""

from collections.abc import Iterator

from .clients import Client
from .request import Request

REQUESTS_MAX, REQUEST_BYTES_MAX = 10_000, 16 << 20  # of one client
ALL_REQUESTS_MAX, ALL_REQUEST_BYTES_MAX = 50_000, 64 << 20
GRACE_SECONDS = 0.1  # for an answer already on its way from a bus: more definite than a timeout
SECONDS_A_REQUEST = 5e-6  # between two scans of all deadlines: about ten times the cost of a scan
NEVER = float("inf")


class PendingRequests:
    """Unanswered requests by id. Each is removed once, with its answer."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_id: dict[int, Request] = {}
        self._next_deadline = NEVER

    def full(self, client: Client) -> bool:
        """Tell whether a client has reached its bound; the remainder of the bound for all clients counts too."""
        return (
            client.requests >= REQUESTS_MAX
            or client.bytes >= REQUEST_BYTES_MAX
            or client.requests + len(self._by_id) >= ALL_REQUESTS_MAX
            or client.bytes + self.bytes >= ALL_REQUEST_BYTES_MAX
        )

    def add(self, request: Request) -> None:
        """Add a request."""
        client, size = request.client, len(request.body)
        client.requests += 1
        client.bytes += size
        request.session.under_way += 1
        self.bytes += size
        self._by_id[request.id] = request
        if request.deadline < self._next_deadline:
            self._next_deadline = request.deadline

    def remove(self, request: Request) -> None:
        """Remove an answered request."""
        client, size = request.client, len(request.body)
        client.requests -= 1
        client.bytes -= size
        request.session.under_way -= 1
        self.bytes -= size
        del self._by_id[request.id]
        request.answered = True

    def late(self, now: float) -> list[Request]:
        """Return the requests past their deadlines."""
        if now < self._next_deadline:
            return []
        ends = [(_end(request), request) for request in self._by_id.values()]
        # A scan costs time per request: limit the rate, or many different deadlines occupy the gateway.
        self._next_deadline = max(
            min((end for end, _ in ends if end > now), default=NEVER), now + len(ends) * SECONDS_A_REQUEST
        )
        return [request for end, request in ends if end <= now]

    def seconds_to_deadline(self, now: float) -> float:
        """Return the seconds until `late` may return a request."""
        return max(0.0, self._next_deadline - now)

    def __iter__(self) -> Iterator[Request]:
        """Iterate over a copy: answering one request may answer others."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)


def _end(request: Request) -> float:
    return request.deadline + (GRACE_SECONDS if request.sent else 0)
