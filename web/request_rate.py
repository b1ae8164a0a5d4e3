"""The rate of the requests to this process."""

INTERVAL_SECONDS = 2.0  # at least, between two samples


class RequestRate:
    """Counts requests. Callers pass the time."""

    def __init__(self) -> None:
        self.total = 0
        self._sampled: tuple[float, int] | None = None
        self._rate: float | None = None

    def per_second(self, now: float) -> float | None:
        """Return the rate between the last two samples, and sample if the interval has passed."""
        if self._sampled is None:
            self._sampled = now, self.total
        since, total = self._sampled
        if now - since >= INTERVAL_SECONDS:
            self._rate = round((self.total - total) / (now - since), 2)
            self._sampled = now, self.total
        return self._rate
