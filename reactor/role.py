"""The role of a reactor: on a shared log, the reactor beside the active commandbus runs the reactions.

No socket, and callers pass the time.
"""

SILENT_SECONDS = 3.0  # without a publication of an active commandbus, the reactor stands by
TAKEOVER_SECONDS = 4.0  # longer: the reactor of the former host has stood by before


class Role:
    """The role of this reactor. Commands are executed once in any case: the role avoids effects on two hosts."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self._since = 0.0  # commandbus on this host is active since
        self._seen = float("-inf")  # the last publication of an active commandbus

    def published(self, now: float, *, active: bool) -> None:
        """Record a publication of the commandbus on this host."""
        if not active:
            self._seen = float("-inf")
            return
        if now - self._seen > SILENT_SECONDS:
            self._since = now
        self._seen = now

    def active(self, now: float) -> bool:
        """Return whether a running reactor may continue."""
        return not self.shared or now - self._seen <= SILENT_SECONDS

    def takes_over(self, now: float) -> bool:
        """Return whether this reactor may begin."""
        return not self.shared or (self.active(now) and now - self._since >= TAKEOVER_SECONDS)
