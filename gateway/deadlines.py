"""The requests that are not answered, and when each must be: what the gateway owes, and how much it may."""

from collections.abc import Iterator

from .clients import Client
from .request import Request

REQUESTS_MAX, REQUEST_BYTES_MAX = 10_000, 16 << 20  # of one client
ALL_REQUESTS_MAX, ALL_REQUEST_BYTES_MAX = 50_000, 64 << 20
GRACE_SECONDS = 0.1  # for the answer of a bus that was just not too late: it knows more than we do
SECONDS_A_REQUEST = 5e-6  # between two checks of all deadlines: some ten times what a check takes
NEVER = float("inf")


class PendingRequests:
    """Requests by id. A request leaves it once, with its answer."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_id: dict[int, Request] = {}
        self._next_deadline = NEVER

    def full(self, client: Client) -> bool:
        """Tell whether a client has as much under way as it may: no more than is left for all clients together."""
        return (
            client.requests >= REQUESTS_MAX
            or client.bytes >= REQUEST_BYTES_MAX
            or client.requests + len(self._by_id) >= ALL_REQUESTS_MAX
            or client.bytes + self.bytes >= ALL_REQUEST_BYTES_MAX
        )

    def add(self, request: Request) -> None:
        """Take a request in."""
        client, size = request.client, len(request.body)
        client.requests += 1
        client.bytes += size
        request.session.under_way += 1
        self.bytes += size
        self._by_id[request.id] = request
        if request.deadline < self._next_deadline:
            self._next_deadline = request.deadline

    def remove(self, request: Request) -> None:
        """Take a request out: it is answered."""
        client, size = request.client, len(request.body)
        client.requests -= 1
        client.bytes -= size
        request.session.under_way -= 1
        self.bytes -= size
        del self._by_id[request.id]
        request.answered = True

    def late(self, now: float) -> list[Request]:
        """Return the requests whose time has passed."""
        if now < self._next_deadline:
            return []
        ends = [(_end(request), request) for request in self._by_id.values()]
        # Each check takes as long as there are requests: however many deadlines they have, most of the time is ours.
        self._next_deadline = max(
            min((end for end, _ in ends if end > now), default=NEVER), now + len(ends) * SECONDS_A_REQUEST
        )
        return [request for end, request in ends if end <= now]

    def seconds_to_deadline(self, now: float) -> float:
        """How long until `late` has something to say."""
        return max(0.0, self._next_deadline - now)

    def __iter__(self) -> Iterator[Request]:
        """Yield them as they are now: answering one may answer others."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)


def _end(request: Request) -> float:
    return request.deadline + (GRACE_SECONDS if request.sent else 0)
