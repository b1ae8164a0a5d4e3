"""How much work a worker requests at a time.

Work that waits at the gateway waits its client's turn, and is refused at once when it would wait too long; work that
waits at the worker does neither.
"""

CREDIT_MIN, CREDIT_FIRST, CREDIT_MAX = 2, 64, 1024
SECONDS_MIN = 1e-6  # below what a clock can tell
CREDIT_SECONDS = 0.1  # how much work a worker requests: the rest waits at the gateway


class Credit:
    """The credit of one worker: what it can do in a moment, and what waits for another process than this one."""

    def __init__(self) -> None:
        self.parked = 0  # how many jobs wait for the read model
        self.busy = False  # a handler has been running for long: nothing more until it has ended
        self._at_a_time = self._announced = CREDIT_FIRST
        self._seconds_each = 0.0

    def record(self, items: int, seconds: float) -> None:
        """Note how long work took."""
        each = max(seconds, SECONDS_MIN) / items
        self._seconds_each += (each - self._seconds_each) / 4 if self._seconds_each else each
        self._at_a_time = max(CREDIT_MIN, int(CREDIT_SECONDS / self._seconds_each))

    @property
    def wanted(self) -> int:
        """How much the gateway may send."""
        return 0 if self.busy else min(CREDIT_MAX, self._at_a_time) + self.parked

    @property
    def as_announced(self) -> bool:
        """Tell whether the gateway knows about how much is wanted."""
        return self._announced / 2 <= self.wanted <= self._announced * 2

    def announced(self) -> int:
        """Return how much is wanted, and remember that the gateway knows it."""
        self._announced = self.wanted
        return self._announced
