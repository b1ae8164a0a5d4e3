"""Queries deferred until the read model has reached the positions they need. They hold no credit meanwhile."""

import heapq

from .request import Request


class Deferred:
    """Deferred queries by position, and the read model's position as last reported by a querybus."""

    def __init__(self) -> None:
        self.position = 0
        self._heap: list[tuple[int, int, Request]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def must_wait(self, query: Request) -> bool:
        """Tell whether a query must be deferred.

        With no query deferred the read model keeps up, and waiting in a querybus adds less delay.
        """
        return bool(self._heap) and query.needs > self.position

    def add(self, query: Request) -> None:
        """Defer a query."""
        heapq.heappush(self._heap, (query.needs, query.id, query))

    def reached(self, position: int) -> list[Request]:
        """Note the position of the read model; return the queries no longer deferred, in order."""
        self.position = position
        found: list[Request] = []
        while self._heap and self._heap[0][0] <= position:
            query = heapq.heappop(self._heap)[2]
            if not query.answered:
                found.append(query)
        return found

    def drop_answered(self) -> None:
        """Drop queries answered while deferred."""
        self._heap = [one for one in self._heap if not one[2].answered]
        heapq.heapify(self._heap)
