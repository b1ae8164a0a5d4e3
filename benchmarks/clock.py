"""Timing of repeated work."""

import statistics
from collections.abc import Callable
from time import perf_counter

WARM_SECONDS = 0.3  # warm up caches, windows and batch sizes before measuring

WARM_STEPS = 3


def per_second(step: Callable[[], int], seconds: float) -> float:
    """Return the throughput of `step` per second; `step` returns the number of items done."""
    _repeat(step, WARM_SECONDS)
    started = perf_counter()
    done = _repeat(step, seconds)
    return done / (perf_counter() - started)


def median_ms(step: Callable[[], object], seconds: float) -> float:
    """Return the median duration of `step` in milliseconds."""
    _repeat(lambda: bool(step()), WARM_SECONDS)
    took: list[float] = []
    end = perf_counter() + seconds
    while (before := perf_counter()) < end:
        step()
        took.append(perf_counter() - before)
    return statistics.median(took) * 1000


def median_of(step: Callable[[], object], times: int) -> float:
    """Return the median duration of `step` in milliseconds over `times` runs, after a few warm-up runs."""
    took: list[float] = []
    for _ in range(times + WARM_STEPS):
        before = perf_counter()
        step()
        took.append(perf_counter() - before)
    return statistics.median(took[WARM_STEPS:]) * 1000


def _repeat(step: Callable[[], int], seconds: float) -> int:
    done = 0
    end = perf_counter() + seconds
    while perf_counter() < end:
        done += step()
    return done
