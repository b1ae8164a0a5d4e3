"""Estimates the arrival times of messages: a request contains the time left, not the deadline."""

CHECK_SECONDS = 0.05  # between two checks of the attendant

# Beyond the allowed time of a wait, the process was stopped; for as long afterwards, messages may be older.
STOPPED_SECONDS = 0.05


class ArrivalClock:
    """Detects stops of the process (SIGSTOP), and of the receiving thread of ZeroMQ with it."""

    def __init__(self, now: float) -> None:
        self._stopped_since = self._stopped_until = now
        self._checked_at = float("inf")  # no attendant

    def record_wait(self, began: float, ended: float, seconds: float) -> None:
        """Record a wait with its allowed seconds."""
        if ended - began > seconds + STOPPED_SECONDS:
            self._stopped_since, self._stopped_until = began, ended + STOPPED_SECONDS

    def record_check(self, now: float) -> None:
        """Record a check of the attendant."""
        self.record_wait(self._checked_at, now, CHECK_SECONDS)
        self._checked_at = now

    def since(self, empty_at: float, now: float) -> float:
        """Return the earliest arrival time of the messages in a queue, from the time of the last empty queue.

        Only the attendant's checks detect a stop between two waits, and its thread may continue after this one. A
        queue that was empty just after a stop may have received older messages since.
        """
        self.record_wait(self._checked_at, now, CHECK_SECONDS)
        return min(empty_at, self._stopped_since) if empty_at < self._stopped_until else empty_at

    def registered(self, now: float) -> None:
        """Forget earlier stops: all work of a new registration was sent after the stop."""
        self._stopped_until = 0.0
        self._checked_at = max(self._checked_at, now)
