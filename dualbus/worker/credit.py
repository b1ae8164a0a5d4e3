"""The credit of a worker: the number of requests to receive in advance.

Requests queued at the gateway wait for the turns of their clients, and are refused early if they would wait too long;
requests queued at a worker have neither.
"""

CREDIT_MIN, CREDIT_FIRST, CREDIT_MAX = 2, 64, 1024
SECONDS_MIN = 1e-6  # the resolution of the clock
CREDIT_SECONDS = 0.1  # how much work a worker requests: the rest waits at the gateway


class Credit:
    """The credit of a worker: the requests it can handle within CREDIT_SECONDS, and the parked ones."""

    def __init__(self) -> None:
        self.parked = 0  # how many jobs wait for the read model
        self.busy = False  # a handler has been running for long: request no more until the end
        self._at_a_time = self._announced = CREDIT_FIRST
        self._seconds_each = 0.0

    def record(self, items: int, seconds: float) -> None:
        """Note the duration of handled requests."""
        each = max(seconds, SECONDS_MIN) / items
        self._seconds_each += (each - self._seconds_each) / 4 if self._seconds_each else each
        self._at_a_time = max(CREDIT_MIN, int(CREDIT_SECONDS / self._seconds_each))

    @property
    def wanted(self) -> int:
        """How much the gateway may send."""
        return 0 if self.busy else min(CREDIT_MAX, self._at_a_time) + self.parked

    @property
    def as_announced(self) -> bool:
        """Tell whether the gateway's figure is close enough."""
        return self._announced / 2 <= self.wanted <= self._announced * 2

    def announced(self) -> int:
        """Return the credit to announce, and remember the figure."""
        self._announced = self.wanted
        return self._announced
