"""How many requests a worker accepts at a time.

The gateway shares a worker among clients and refuses requests early under overload; a queue in the worker would do
neither.
"""

CREDIT_MIN, CREDIT_FIRST, CREDIT_MAX = 2, 64, 1024
SECONDS_MIN = 1e-6  # below the resolution of the clock
DEFERRED_STEP = 8  # the gateway must know the number of deferred queries to this precision, or to half of the credit
CREDIT_SECONDS = 0.1  # of work in flight; further requests wait at the gateway


class Credit:
    """The credit of a worker: the requests for CREDIT_SECONDS, plus the deferred queries."""

    def __init__(self) -> None:
        self.deferred = 0  # queries waiting for the read model
        self.busy = False  # a slow handler runs: no credit until its end
        self._at_a_time = self._announced = CREDIT_FIRST
        self._announced_deferred = 0
        self._seconds_each = 0.0

    def record(self, items: int, seconds: float) -> None:
        """Record the time of processed requests."""
        each = max(seconds, SECONDS_MIN) / items
        self._seconds_each += (each - self._seconds_each) / 4 if self._seconds_each else each
        self._at_a_time = max(CREDIT_MIN, int(CREDIT_SECONDS / self._seconds_each))

    @property
    def wanted(self) -> int:
        """The number of requests the gateway may send."""
        return 0 if self.busy else min(CREDIT_MAX, self._at_a_time) + self.deferred

    @property
    def as_announced(self) -> bool:
        """Return whether the last announced credit is still about right."""
        step = min(DEFERRED_STEP, self._at_a_time // 2)
        exact = abs(self.deferred - self._announced_deferred) < step
        return exact and self._announced / 2 <= self.wanted <= self._announced * 2

    def announce(self) -> int:
        """Return the credit to announce to the gateway."""
        self._announced, self._announced_deferred = self.wanted, self.deferred
        return self._announced
