"""Since when a message that is received now can have been waiting: deadlines travel as the time that is left."""

# A wait that is this much longer than it may be: the process was stopped. So soon after, messages may be from then.
STOPPED_SECONDS = 0.05


class ArrivalClock:
    """Notices that the process was stopped, and with it the thread that receives for it."""

    def __init__(self, now: float) -> None:
        self._stopped_since = self._stopped_until = now

    def waited(self, began: float, ended: float, seconds: float) -> None:
        """Note a wait that was allowed so many seconds."""
        if ended - began > seconds + STOPPED_SECONDS:
            self._stopped_since, self._stopped_until = began, ended + STOPPED_SECONDS

    def since(self, empty_at: float, now: float) -> float:
        """Return since when messages can have been waiting in a queue that was empty at a moment."""
        return min(empty_at, self._stopped_since) if now < self._stopped_until else empty_at

    def registered(self) -> None:
        """Whatever arrives under a new registration was sent after it."""
        self._stopped_until = 0.0
