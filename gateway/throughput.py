"""Estimates the throughput of a saturated bus, in answers per second."""

from collections import deque

PACE_SECONDS = 0.1
WINDOWS_MIN, WINDOWS_MAX = 3, 10


class ThroughputEstimate:
    """The best rate of the last second's windows: a short stall does not lower the estimate."""

    def __init__(self) -> None:
        self.per_second = 0.0  # until the bus has been saturated for several windows
        self.counting = False
        self._windows: deque[float] = deque(maxlen=WINDOWS_MAX)
        self._since = 0.0
        self._done = 0
        self._saturated = False

    def note(self, done: int, *, saturated: bool, now: float) -> None:
        """Count answers, and note whether requests are waiting for room."""
        self.counting = saturated or self._saturated or bool(self._windows)
        if not self.counting:
            return
        self._done += done
        self._saturated = self._saturated and saturated
        if now - self._since < PACE_SECONDS or (self._saturated and not self._done):
            return
        if self._saturated:
            self._windows.append(self._done / (now - self._since))
        else:
            self._windows.clear()
        self.per_second = max(self._windows) if len(self._windows) >= WINDOWS_MIN else 0.0
        self._since, self._done, self._saturated = now, 0, saturated
