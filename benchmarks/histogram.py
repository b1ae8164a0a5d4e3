"""Latencies in an HdrHistogram, which counts every value and averages none."""

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped, import-not-found, unused-ignore]

LONGEST_MICROSECONDS = 60_000_000
DIGITS = 3
PERCENTILES = (
    0,
    10,
    20,
    30,
    40,
    50,
    60,
    70,
    80,
    90,
    95,
    97.5,
    99,
    99.5,
    99.75,
    99.9,
    99.95,
    99.975,
    99.99,
    100,
)

Curve = list[tuple[float, float]]


class Latencies:
    """Record seconds; return milliseconds by percentile. `text` is the encoded form for other processes."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._histogram = HdrHistogram(1, LONGEST_MICROSECONDS, DIGITS)
        for value in seconds:
            self._histogram.record_value(min(LONGEST_MICROSECONDS, max(1, int(value * 1_000_000))))

    @property
    def text(self) -> str:
        return str(self._histogram.encode().decode())

    def add(self, text: str) -> None:
        self._histogram.decode_and_add(text)

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def curve(self) -> Curve:
        return [(p, self._histogram.get_value_at_percentile(p) / 1000) for p in PERCENTILES]
