"""Deferred queries: they need a later position than the read model has, and must not block the queue."""

import heapq

from .request import Request


class Deferred:
    """Queries by required position, and the position of the read model as last reported by a querybus."""

    def __init__(self) -> None:
        self.position = 0
        self._heap: list[tuple[int, int, Request]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, query: Request) -> None:
        """Defer a query until the read model reaches the required position."""
        heapq.heappush(self._heap, (query.needs, query.id, query))

    def advance(self, position: int) -> list[Request]:
        """Set the position of the read model; return the queries that can be sent, in order."""
        self.position = position
        ready: list[Request] = []
        while self._heap and self._heap[0][0] <= position:
            query = heapq.heappop(self._heap)[2]
            if not query.answered:
                ready.append(query)
        return ready

    def clear(self) -> list[Request]:
        """Remove and return the unanswered queries, in order of arrival; their required positions have changed."""
        waiting = sorted((query for _, _, query in self._heap if not query.answered), key=lambda query: query.id)
        self._heap = []
        return waiting

    def drop_answered(self) -> None:
        """Drop queries that have been answered, e.g. timed out."""
        self._heap = [entry for entry in self._heap if not entry[2].answered]
        heapq.heapify(self._heap)
