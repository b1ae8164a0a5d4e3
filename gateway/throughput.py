"""The throughput of a bus, estimated while the bus is saturated."""

from collections import deque

WINDOW_SECONDS = 0.1
WINDOWS_MIN, WINDOWS_MAX = 3, 10


class ThroughputEstimate:
    """The best window of the last second, so that a short pause of a bus does not lower the estimate."""

    def __init__(self) -> None:
        self.per_second = 0.0  # zero until enough saturated windows were measured
        self.counting = False
        self._windows: deque[float] = deque(maxlen=WINDOWS_MAX)
        self._since = 0.0
        self._count = 0
        self._saturated = False

    def record(self, count: int, *, saturated: bool, now: float) -> None:
        """Record answers, and whether requests are queued for lack of capacity."""
        self.counting = saturated or self._saturated or bool(self._windows)
        if not self.counting:
            return
        self._count += count
        self._saturated = self._saturated and saturated
        if now - self._since < WINDOW_SECONDS or (self._saturated and not self._count):
            return
        if self._saturated:
            self._windows.append(self._count / (now - self._since))
        else:
            self._windows.clear()
        self.per_second = max(self._windows) if len(self._windows) >= WINDOWS_MIN else 0.0
        self._since, self._count, self._saturated = now, 0, saturated
