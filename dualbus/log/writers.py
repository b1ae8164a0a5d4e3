"""The writers of a shared log: announcements, roles, and the time to claim. No socket; callers pass the time.

Announcements only decide when a standby claims. The number of the commit decides between writers, so that a wrong
time costs a further claim and never a commit.
"""

from typing import Any, NamedTuple

import msgpack

ANNOUNCE_SECONDS = 0.25
SILENT_SECONDS = 1.0  # without a sign of the active writer
RANK_SECONDS = 0.5  # between the claims of two standbys, so that the second sees the claim of the first
GONE_SECONDS = 10.0  # without an announcement of a writer: forgotten
WRITERS_MAX = 100
TEXT_CHARS_MAX = 100


class Announcement(NamedTuple):
    """The periodic message of a writer."""

    log: str
    writer: str  # a new name for every start of a process
    host: str
    since: int | None  # the commit of the claim; None for a standby
    number: int  # of the last commit in the replica
    leaving: bool

    def packed(self) -> bytes:
        """Return the message."""
        return bytes(msgpack.packb(self))


def read_announcement(message: bytes) -> Announcement | None:
    """Return an announcement, or None for another message."""
    try:
        match msgpack.unpackb(message):
            case [str(log), str(writer), str(host), int() | None as since, int(number), bool(leaving)]:
                return Announcement(log, writer[:TEXT_CHARS_MAX], host[:TEXT_CHARS_MAX], since, number, leaving)
    except (ValueError, msgpack.UnpackException):
        pass
    return None


class Writers:
    """The announced writers, as seen by one of them."""

    def __init__(self, writer: str, now: float) -> None:
        self._writer = writer
        self._seen: dict[str, tuple[float, Announcement]] = {}
        self._sign_at = now  # the last sign of an active writer
        self._left = False  # the active writer is leaving

    def received(self, announcement: Announcement, now: float) -> None:
        """Record an announcement."""
        if len(self._seen) < WRITERS_MAX or announcement.writer in self._seen:
            self._seen[announcement.writer] = now, announcement
        if announcement.leaving:
            self._left = True
            self._seen.pop(announcement.writer, None)
        elif announcement.since is not None:
            self._left = False
            self.active_sign(now)

    def active_sign(self, now: float) -> None:
        """Record a sign of an active writer: an announcement, or a commit. A commit may precede `leaving`."""
        self._sign_at = now

    def claiming(self, now: float) -> None:
        """Record an attempt to claim: pause before the next attempt."""
        self._sign_at = now
        self._left = False

    def seconds_to_claim(self, now: float) -> float:
        """Return the seconds until this standby must claim, if no writer is active."""
        silent = 0.0 if self._left else SILENT_SECONDS
        return max(0.0, self._sign_at + silent + RANK_SECONDS * self._rank(now) - now)

    def _rank(self, now: float) -> int:
        """Return the number of standbys that claim before this one."""
        self._forget(now)
        standbys = {found.writer for _, found in self._seen.values() if found.since is None}
        return sum(writer < self._writer for writer in standbys)

    def _forget(self, now: float) -> None:
        self._seen = {name: found for name, found in self._seen.items() if now - found[0] < GONE_SECONDS}

    def active_since(self) -> int:
        """Return the latest claim of another writer; 0 without any."""
        claims = [found.since or 0 for _, found in self._seen.values() if found.writer != self._writer]
        return max(claims, default=0)

    def status(self, now: float) -> list[dict[str, Any]]:
        """Return the writers for Status."""
        self._forget(now)
        head = max((found.number for _, found in self._seen.values()), default=0)
        return [
            {
                "host": found.host,
                "role": "standby" if found.since is None else "active",
                "writer_since": found.since,
                "commit": found.number,
                "lag_commits": head - found.number,
                "seen_s": round(now - at, 3),
            }
            for at, found in sorted(self._seen.values(), key=lambda seen: seen[1].host)
        ]
