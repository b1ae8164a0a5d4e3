"""Queries that need a later position than the read model has: they wait here, where they are in nobody's way."""

import heapq

from .request import Request


class Deferred:
    """Queries by the position that they need, and the position of the read model as a querybus last reported it."""

    def __init__(self) -> None:
        self.position = 0
        self._heap: list[tuple[int, int, Request]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def must_wait(self, query: Request) -> bool:
        """Tell whether a query has to wait here.

        While none does, the read model keeps up: then a querybus waits the moment that it takes with less delay.
        """
        return bool(self._heap) and query.needs > self.position

    def add(self, query: Request) -> None:
        """Keep a query until the read model has what it needs."""
        heapq.heappush(self._heap, (query.needs, query.id, query))

    def reached(self, position: int) -> list[Request]:
        """Note the position of the read model; return the queries that wait no longer, in order."""
        self.position = position
        found: list[Request] = []
        while self._heap and self._heap[0][0] <= position:
            query = heapq.heappop(self._heap)[2]
            if not query.answered:
                found.append(query)
        return found

    def drop_answered(self) -> None:
        """Drop queries that were answered while they waited."""
        self._heap = [one for one in self._heap if not one[2].answered]
        heapq.heapify(self._heap)
