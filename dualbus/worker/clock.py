"""Determines the age of received messages: deadlines travel as remaining time."""

# A wait so much longer than allowed means a stopped process. Messages received so soon after it may be as old.
STOPPED_SECONDS = 0.05


class ArrivalClock:
    """Detects stops of the process, and with it of its receiving thread."""

    def __init__(self, now: float) -> None:
        self._stopped_since = self._stopped_until = now

    def waited(self, began: float, ended: float, seconds: float) -> None:
        """Note a wait that was allowed so many seconds."""
        if ended - began > seconds + STOPPED_SECONDS:
            self._stopped_since, self._stopped_until = began, ended + STOPPED_SECONDS

    def since(self, empty_at: float, now: float) -> float:
        """Return since when messages can have been waiting in a queue last seen empty at a moment."""
        return min(empty_at, self._stopped_since) if now < self._stopped_until else empty_at

    def registered(self) -> None:
        """Note a new registration: all later messages were sent after it."""
        self._stopped_until = 0.0
