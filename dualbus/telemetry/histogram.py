"""Histograms of durations and sizes, with fixed buckets."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

SECONDS = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
)
EVENTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


class Histogram:
    """The number of values per bucket, and the sum of all values. A bucket includes its upper bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last bucket has no bound
        self.sum = 0.0

    def observe(self, value: float, number: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.bounds, value)] += number
        self.sum += value * number

    def as_dict(self) -> dict[str, Any]:
        """Return the bounds, the counts and the sum, for Status."""
        return {"le": list(self.bounds), "counts": list(self.counts), "sum": round(self.sum, 6)}


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Estimate a quantile by linear interpolation inside its bucket; None without values.

    A value above the last bound counts as the last bound.
    """
    rank = part * sum(counts)
    below = 0
    for number, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * (rank - below) / count
        below += count
    return bounds[-1] if counts[-1] else None
