"""The role of a reactor: on a shared log, the reactor beside the active commandbus runs the reactions.

No socket, and callers pass the time.
"""

SILENT_SECONDS = 3.0  # without a publication of an active commandbus, the reactor stands by
TAKEOVER_SECONDS = 4.0  # longer: the reactor of the former host has stood by before
NEVER = float("-inf")


class Role:
    """The role of this reactor. Commands are executed once in any case: the role avoids effects on two hosts."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self._since = 0.0  # commandbus on this host is active since
        self._seen = NEVER  # the last publication of an active commandbus
        self._turned = NEVER
        self._began = False

    def turn(self, now: float) -> None:
        """Prepare for publications. After a pause of this process, queued publications may be old: stand by."""
        if now - self._turned > SILENT_SECONDS:
            self._seen, self._began = NEVER, False
        self._turned = now

    def published(self, now: float, *, active: bool) -> None:
        """Record a publication of the commandbus on this host."""
        if not active:
            self._seen = NEVER
            return
        if now - self._seen > SILENT_SECONDS:
            self._since = now
        self._seen = now

    def active(self, now: float) -> bool:
        """Return whether a reactor that has taken over may continue."""
        self._began = self._began and now - self._seen <= SILENT_SECONDS
        return self._began or not self.shared

    def takes_over(self, now: float) -> bool:
        """Return whether this reactor may begin, and begin."""
        self._began = now - self._seen <= SILENT_SECONDS and now - self._since >= TAKEOVER_SECONDS
        return self._began or not self.shared
