"""Rates and percentiles of the last ten minutes, as columns for charts. Pure: callers pass the time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from dualbus.protocol.feed import EVENTS
from dualbus.protocol.outcomes import REJECTED, SUCCESS
from dualbus.telemetry.histogram import SECONDS, quantile

from .metrics import Metrics
from .positions import positions
from .worker import COMMANDS, QUERIES, REACTOR

if TYPE_CHECKING:
    from .router import Router

INTERVAL_SECONDS, POINTS_MAX = 2.0, 300  # ten minutes
COLUMNS = (
    "time", "commands_per_s", "commands_p50_s", "commands_p99_s", "queries_per_s", "queries_p50_s", "queries_p99_s",
    "failed_per_s", "written_per_s", "applied_per_s", "reacted_per_s", "caused_per_s",
    "lag_events", "lag_s", "pending",
)  # fmt: skip
_NAMES = {COMMANDS: "commands", QUERIES: "queries"}


class _Totals(NamedTuple):
    """The totals at a time."""

    now: float
    durations: dict[str, list[int]]  # by dest, the counts of a histogram
    failed: int
    written: int  # the position of the log
    applied: int  # the position of the read model
    reacted: int  # events finished by the reactor since its start
    caused: int  # commands of the reactor since its start


class Rates:
    """A point for every interval, with its rates, percentiles, lag and queues."""

    def __init__(self) -> None:
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS_MAX)
        self._last: _Totals | None = None

    def sample(self, router: Router, now: float, time: float) -> None:
        """Add a point if the interval has passed."""
        if self._last and now < self._last.now + INTERVAL_SECONDS:
            return
        at = positions(router.workers)
        reactors = [worker.status for worker in router.workers.buses[REACTOR].workers.values()]
        totals = _totals(router.workers.metrics, at, reactors, self._last, now)
        if self._last:
            point = {"time": round(time, 3), **_rates(self._last, totals)}
            point |= {"lag_events": at["lag_events"], "lag_s": at["lag_s"], "pending": len(router.pending)}
            self._points.append(point)
        self._last = totals

    def as_dict(self) -> dict[str, Any]:
        """Return the points as columns, oldest first."""
        return {"interval_s": INTERVAL_SECONDS, **{name: [point[name] for point in self._points] for name in COLUMNS}}


def _totals(
    metrics: Metrics, at: dict[str, Any], reactors: list[dict[str, Any]], last: _Totals | None, now: float
) -> _Totals:
    """Sum the counts of all types. Subscriptions have no duration: the gateway holds their requests on purpose."""
    durations = {dest: [0] * (len(SECONDS) + 1) for dest in _NAMES}
    failed = 0
    for counted in metrics:
        failed += sum(n for outcome, n in counted.outcomes.items() if outcome not in (SUCCESS, REJECTED))
        if counted.dest in durations and counted.type != EVENTS:
            total = durations[counted.dest]
            durations[counted.dest] = [a + b for a, b in zip(total, counted.duration.counts, strict=True)]
    # While a process is not running, its position is that of the last point.
    written = at["log_position"] or (last.written if last else 0)
    applied = at["read_model_position"] or (last.applied if last else 0)
    reacted, caused = (_sum(reactors, name) for name in ("finished", "commands"))
    return _Totals(now, durations, failed, written, applied, reacted, caused)


def _sum(reports: list[dict[str, Any]], name: str) -> int:
    return sum(report[name] for report in reports if type(report.get(name)) is int)


def _rates(last: _Totals, totals: _Totals) -> dict[str, Any]:
    """Return the rates and percentiles between two totals. A process that starts again has no negative rate."""
    seconds = totals.now - last.now
    found: dict[str, Any] = {}
    for dest, name in _NAMES.items():
        counts = [a - b for a, b in zip(totals.durations[dest], last.durations[dest], strict=True)]
        found[f"{name}_per_s"] = round(sum(counts) / seconds, 2)
        for percent in (50, 99):
            found[f"{name}_p{percent}_s"] = quantile(SECONDS, counts, percent / 100)
    found["failed_per_s"] = round((totals.failed - last.failed) / seconds, 2)
    for name in ("written", "applied", "reacted", "caused"):
        known = getattr(last, name)  # 0 until the process has reported
        count = max(0, getattr(totals, name) - getattr(last, name)) if known else 0
        found[f"{name}_per_s"] = round(count / seconds, 2)
    return found
