"""The answers of a worker in one message, counted together: a gateway has no time to count each request."""

from dualbus.protocol.outcomes import SUCCESS

from .request import Request


class AnsweredBatch:
    """The requests of a batch with the positions of their answers, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.positions: list[int] = []
        self.outcomes: dict[int, str] = {}  # by the id of the request, if not a success
        self.late: set[int] = set()  # the ids of requests that the gateway had answered before

    def outcome(self, request: Request) -> str:
        """Return the outcome of a request."""
        return self.outcomes.get(request.id, SUCCESS)
