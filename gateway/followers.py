"""Requests for events at the end of the log. The gateway holds them, so that no worker waits for an event."""

from .request import Request

NEVER, POSITION_MAX = float("inf"), 2**63
HOLD_SECONDS = 1.0  # at most; then a querybus answers without events, and the client sends its next request


class Followers:
    """Requests for the events after the head. The head reaches the gateway with the answers of commandbus."""

    def __init__(self) -> None:
        self._held: list[tuple[float, Request]] = []  # each with the end of its time
        self._next_end = NEVER
        self._lowest = POSITION_MAX

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, request: Request, head: int, now: float) -> bool:
        """Hold a request if the log ends at its position; return False for any other request."""
        if request.after != head:
            return False
        self._add(now + min(HOLD_SECONDS, (request.deadline - now) / 2), request)
        return True

    def _add(self, end: float, request: Request) -> None:
        self._held.append((end, request))
        self._next_end = min(self._next_end, end)
        self._lowest = min(self._lowest, request.after)

    def pop_ready(self, head: int, now: float) -> list[Request]:
        """Remove and return the requests with events to read, and those held for long enough."""
        if self._lowest >= head and now < self._next_end:
            return []
        held, self._held = self._held, []
        self._next_end, self._lowest = NEVER, POSITION_MAX
        ready = []
        for end, request in held:
            if request.answered:
                continue
            if request.after < head or end <= now:
                ready.append(request)
            else:
                self._add(end, request)
        return ready
