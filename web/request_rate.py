"""The rate of the requests to this process."""

INTERVAL_SECONDS, INTERVAL_SECONDS_MAX = 2.0, 10.0  # between two samples of a rate


class RequestRate:
    """Counts requests. Callers pass the time."""

    def __init__(self) -> None:
        self.total = 0
        self._sampled = float("-inf"), 0
        self._rate: float | None = None

    def per_second(self, now: float) -> float | None:
        """Return the rate between the last two samples, and sample if the interval has passed.

        None for the first sample after a while without a viewer.
        """
        since, total = self._sampled
        if now - since >= INTERVAL_SECONDS:
            recent = now - since <= INTERVAL_SECONDS_MAX
            self._rate = round((self.total - total) / (now - since), 2) if recent else None
            self._sampled = now, self.total
        return self._rate
