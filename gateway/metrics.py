"""Counts of requests by type and outcome, and of their durations. Pure: callers pass the time.

The gateway counts, because the gateway answers each request exactly once: no restart of a worker loses a count.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from dualbus.protocol.outcomes import SUCCESS
from dualbus.telemetry.histogram import SECONDS, Histogram

from .answered import AnsweredBatch
from .request import Request

GONE = "gone"  # the outcome of a request whose client has disconnected
UNKNOWN = "unknown"  # the label of every type without a registration, and of every unknown dest
TYPES_MAX = 10_000

_TYPE_AND_ARRIVAL = attrgetter("type", "arrived")


class TypeMetrics:
    """The requests of a type."""

    __slots__ = ("dest", "duration", "outcomes", "type")

    def __init__(self, dest: str, type_: str) -> None:
        self.dest = dest
        self.type = type_
        self.outcomes: dict[str, int] = {}
        self.duration = Histogram(SECONDS)  # from acceptance to the answer, in seconds

    def count(self, outcome: str, number: int = 1) -> None:
        """Count requests."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number


class Metrics:
    """All types that workers have registered. `now` is the time of the gateway's turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self._by_type: dict[tuple[str, str], TypeMetrics] = {}

    def register(self, dest: str, types: Iterable[str]) -> None:
        """Prepare the counts of a bus. Only its types have labels, so the number of labels is bounded."""
        for type_ in (*types, UNKNOWN):
            if len(self._by_type) < TYPES_MAX:
                self._by_type.setdefault((dest, type_), TypeMetrics(dest, type_))

    def of(self, request: Request) -> TypeMetrics:
        """Return the counts that a request belongs to."""
        found = self._by_type.get((request.dest, request.type))
        return found or self._unknown(request.dest)

    def _unknown(self, dest: str) -> TypeMetrics:
        known = self._by_type.get((dest, UNKNOWN))
        return known or self._by_type.setdefault((UNKNOWN, UNKNOWN), TypeMetrics(UNKNOWN, UNKNOWN))

    def answered(self, dest: str, batch: AnsweredBatch) -> None:
        """Count answers of workers. The requests of a batch are alike, so that few counts change."""
        requests = batch.requests
        if batch.outcomes or batch.late:
            for request in requests:
                if request.id not in batch.late:
                    self._count(dest, request.type, request.arrived, batch.outcome(request), 1)
            return
        for (type_, arrived), number in Counter(map(_TYPE_AND_ARRIVAL, requests)).items():
            self._count(dest, type_, arrived, SUCCESS, number)

    def _count(self, dest: str, type_: str, arrived: float, outcome: str, number: int) -> None:
        counted = self._by_type.get((dest, type_)) or self._unknown(dest)
        counted.count(outcome, number)
        counted.duration.observe(self.now - arrived, number)

    def failed(self, request: Request, outcome: str) -> None:
        """Count an error of the gateway in answer to an accepted request."""
        self._count(request.dest, request.type, request.arrived, outcome, 1)

    def __iter__(self) -> Iterator[TypeMetrics]:
        """Iterate over the types with requests."""
        return (counted for counted in self._by_type.values() if counted.outcomes)

    def as_list(self) -> list[dict[str, Any]]:
        """Return the counts for Status."""
        return [
            {
                "dest": counted.dest,
                "type": counted.type,
                "outcomes": dict(counted.outcomes),
                "duration_s": counted.duration.as_dict(),
            }
            for counted in self
        ]
