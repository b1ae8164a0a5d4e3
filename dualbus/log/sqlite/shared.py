"""The log of one of several machines: a replica in SQLite of a commit log.

The commit log is the truth. The replica answers all reads, and receives a commit only after a majority of the engine
has stored the commit. The hashes of each commit are recomputed before the commit is applied.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uuid_utils

from dualbus.log.body import BEGINNING, NewCommit, check_identity, check_not_moved, packed, unpacked, verified
from dualbus.log.commits import CommitLog, CommitLogUnreachable, OutcomeUnknown
from dualbus.log.contract import (
    Appended,
    CommitFailed,
    Decision,
    LogDamaged,
    LogError,
    LogUnavailable,
    RecordedEvent,
)
from dualbus.log.sqlite.schema import SHARED_NAME
from dualbus.log.sqlite.writer import SqliteLog, new_commit, new_identity, new_secret
from dualbus.log.writers import ANNOUNCE_SECONDS, Announcement, Writers, read_announcement
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.runtime.files import is_there, usable, write_private

PUT_SECONDS = 12.0  # an election takes up to 9 seconds
CLAIM_SECONDS = 3.0
GET_COMMITS = 256
PROMPT_SECONDS = 0.02  # between announcements of new commits
POLL_SECONDS = 0.5  # between reads, in case announcements are lost
TAIL_SECONDS = 2.0  # between checks of the end of the commit log
LOST_SECONDS = 30.0  # a member of the engine may report an old end for up to 20 seconds
LATE_SECONDS = PUT_SECONDS + CLAIM_SECONDS  # of a check of the end: unanswered writes delay the check, and no more
LOST_PAUSE_SECONDS = 0.2  # between two reads

logger = logging.getLogger(__name__)


class SharedLog(SqliteLog):
    """A log on a commit log. Raises LogDamaged if the replica in the folder contradicts the commit log."""

    def __init__(self, folder: Path, commits: CommitLog, genesis: Callable[[bytes], Decision], host: str) -> None:
        self.since: int | None = None
        self.reachable = True
        self._commits = commits
        self._writer = str(uuid_utils.uuid4())
        self._host = host
        self._followed: list[RecordedEvent] = []  # of other writers, to be returned by `turn`
        self._writers = Writers(self._writer, time.monotonic())
        self._next_announcement = self._next_poll = self._next_tail = self._announced_at = 0.0
        self._ahead_since: float | None = None  # the commit log has reported an end before that of the replica
        self._problem = ""  # the last logged
        self._behind = False  # the last read has filled its limit
        self.wakeup = commits.wakeup
        super().__init__(folder, genesis)

    # Opening.

    def _check_role(self, folder: Path) -> None:
        """Accept a log of one machine: `_check` compares the log with the commit log before its folder is marked."""

    def _mark(self, folder: Path) -> None:
        """Mark the folder as that of a replica, before the first commit of the commit log is written to the log."""
        with usable(folder):
            write_private(folder / SHARED_NAME, self._commits.name)

    def _create_missing(self, folder: Path) -> None:
        """Copy the whole commit log into a new file; begin an empty commit log with the genesis."""
        first: list[bytes] = []
        until = time.monotonic() + PUT_SECONDS
        while not (first or time.monotonic() > until):
            if self._commits.tail() == 0:
                check_log_is_complete(folder, None)
                self._begin()
            first = self._commits.get(0, 1)
        if not first:
            raise CommitLogUnreachable("The first commit of the commit log cannot be read: start commandbus again.")
        body = unpacked(first[0], 1)
        with usable(folder), self._new_file(body.identity, body.secret):
            self._catch_up()
            self._mark(folder)

    def _begin(self) -> None:
        """Put the first commit. If another machine is first, its commit is the first."""
        identity, secret = new_identity(), new_secret()
        commit = new_commit(BEGINNING, [self._genesis(secret)])
        self._commits.put(1, packed(identity, BEGINNING.hash, self._writer, commit, secret), PUT_SECONDS)

    def _check(self, folder: Path) -> None:
        """Follow the commit log, then check the log: a replica may be behind log.head, and never for long."""
        self._check_end(replica=is_there(folder / SHARED_NAME))
        self._mark(folder)
        self._catch_up()
        check_log_is_complete(folder, self)

    def _check_end(self, *, replica: bool) -> None:
        """Raise LogError if the commit log differs from the last commit of the log here, or lacks this commit."""
        number = self._end.number
        until = time.monotonic() + LOST_SECONDS
        for first in self._commits.get(0, 1):  # a shorter commit log, such as of a restored log, has lost nothing
            check_identity(unpacked(first, 1), self.identity)
        while number:
            if found := self._commits.get(number - 1, 1):
                body = unpacked(found[0], number)
                check_identity(body, self.identity)
                check_not_moved(body)
                if body.hash != self._end.hash:
                    raise LogDamaged(
                        f"The replica in {self._path.parent} differs from the commit log at commit {number} or "
                        "before: verify it with `dualbus verify`; to copy the commit log again, move log.db* away."
                    )
                return
            if not replica:
                raise LogError(
                    f"The log in {self._path.parent} is of one machine, and {self._commits.name} lacks its commits: "
                    "copy the log with `dualbus move` first, or correct DUALBUS_LOG."
                )
            if time.monotonic() > until:
                raise self._lost(self._commits.tail() or 0)
            time.sleep(LOST_PAUSE_SECONDS)

    def _lost(self, tail: int) -> LogDamaged:
        return LogDamaged(
            f"The commit log has lost commits {tail + 1} to {self._end.number}, which the replica in "
            f"{self._path.parent} has: stop commandbus on all machines, run `dualbus refill` on the machine with the "
            "highest position, and restart the gateways, which remember the latest writer."
        )

    def _catch_up(self) -> None:
        self._behind = True
        while self._behind:
            self._follow()
            self._followed.clear()

    # Following.

    def _follow(self) -> None:
        """Verify the next commits of the commit log and write them to the replica, in one transaction."""
        now = time.monotonic()
        self._next_poll = now + POLL_SECONDS
        bodies = self._commits.get(self._end.number, GET_COMMITS)
        self._behind = bool(bodies)
        if not bodies:
            return
        end, new = self._end, []
        for body in bodies:
            new.append(verified(unpacked(body, end.number + 1), self.identity, end))
            end = new[-1].end
        self._prepare(new)
        self._finish(end)
        for commit in new:
            self._followed += commit.events
        self._writers.active_sign(now)
        if self.since is not None:
            self._stand_by("another writer has appended a commit")

    # Writing.

    def append(self, decisions: Sequence[Decision]) -> Appended:
        """Append decisions; none of them if another writer was first. Raises LogUnavailable or OutcomeUnknown."""
        accepted = self._first_conflict(decisions)
        return self._put(decisions[:accepted], PUT_SECONDS) if accepted else Appended(0, [])

    def _put(self, decisions: Sequence[Decision], seconds: float) -> Appended:
        """Append decisions: all of them, or of too many the first that fit into a body."""
        commit = new_commit(self._end, decisions)
        body = packed(self.identity, self._end.hash, self._writer, commit)
        if len(body) > self._commits.body_bytes_max and len(decisions) > 1:
            return self._put(decisions[: len(decisions) // 2], seconds)
        began = time.monotonic()
        if not self._store(commit, body, seconds):
            self._stand_by("another writer has appended a commit")
            self._behind = True  # also if the read fails: the next turn reads again
            with suppress(LogUnavailable):  # no answer to the decisions, which the other writer may have appended
                self._follow()
            return Appended(0, [])
        self._next_announcement = min(self._next_announcement, self._announced_at + PROMPT_SECONDS)
        return Appended(len(decisions), commit.events, time.monotonic() - began)

    def _store(self, commit: NewCommit, body: bytes, seconds: float) -> bool:
        """Put a body, meanwhile write its rows, and commit the rows after the engine has stored the body."""
        problems: list[LogError] = []

        def prepare() -> None:
            try:
                self._prepare([commit])
            except LogError as problem:
                problems.append(problem)

        stored = False
        try:
            stored = self._commits.put(commit.end.number, body, seconds, prepare)
        except OutcomeUnknown:
            self._stand_by("no majority answers")
            raise
        finally:
            if not stored:
                self._roll_back()
        if not stored:
            return False
        try:
            for problem in problems:
                raise problem
            self._finish(commit.end)
        except LogUnavailable as full:
            lacks = f"The commit log has commit {commit.end.number}, and the replica lacks it."
            raise CommitFailed(f"{lacks} {full}") from None
        return True

    # Roles.

    @property
    def seconds_to_turn(self) -> float:
        """Seconds until `turn` has work without a signal of `wakeup`."""
        if self._behind or self._followed:
            return 0.0
        now = time.monotonic()
        due = min(self._next_announcement, self._next_poll) - now
        return max(0.0, min(due, self._writers.seconds_to_claim(now)) if self.since is None else due)

    def turn(self) -> list[RecordedEvent]:
        """Follow the commit log, announce this writer, and claim if no writer is active. Return the new events."""
        now = time.monotonic()
        number = self._receive(now)
        if now >= self._next_tail:
            self._check_tail(now)  # before a claim, which fails at each turn if the commit log has lost commits
        try:
            if self._behind or number > self._end.number or now >= self._next_poll:
                self._follow()
            if self.since is None and not self._behind and not self._writers.seconds_to_claim(now):
                self._claim(now)
        except (LogUnavailable, OutcomeUnknown) as problem:
            if str(problem) != self._problem:
                logger.warning("%s Trying again.", problem)
            self._problem = str(problem)
            self._behind = False
            self.reachable = False
        else:
            self._problem = ""
        if now >= self._next_announcement:
            self._announce()
        events, self._followed = self._followed, []
        return events

    def _receive(self, now: float) -> int:
        """Record announcements; return the highest announced commit."""
        number = 0
        for message in self._commits.announcements():
            found = read_announcement(message)
            if found and found.log == self.identity.log:
                self._writers.received(found, now)
                number = max(number, found.number)
        if self.since is not None and self._writers.active_since() > self.since:
            self._stand_by("another writer is active")
        return number

    def _announce(self, *, leaving: bool = False) -> None:
        self._announced_at = time.monotonic()
        self._next_announcement = self._announced_at + ANNOUNCE_SECONDS
        announcement = Announcement(
            self.identity.log, self._writer, self._host, self.since, self._end.number, leaving
        )
        self._commits.announce(announcement.packed())

    def _claim(self, now: float) -> None:
        """Append a commit of this writer: whichever writer is at the end of the commit log becomes active."""
        self._writers.claiming(now)
        number = self._end.number + 1
        if self._put([Decision(f"writer/{self._writer}/{number}", time="")], CLAIM_SECONDS).decisions:
            self.since = number
            logger.info("This commandbus is active since commit %d.", number)
            self._announce()
            self._commits.lead()

    def _stand_by(self, reason: str) -> None:
        if self.since is not None:
            logger.warning("This commandbus stands by (active since commit %d): %s.", self.since, reason)
        self.since = None
        self._next_announcement = 0.0

    def stay_active(self) -> None:
        """Announce this writer while a long decision delays `turn`. May be called from another thread."""
        if self.since is not None and time.monotonic() >= self._next_announcement:
            self._announce()

    def leave(self) -> None:
        """Stand by, and request the other writers to claim at once."""
        was_active = self.since is not None
        self.since = None
        self._announce(leaving=was_active)

    def _check_tail(self, now: float) -> None:
        """Raise LogDamaged if the commit log has ended before the replica at each check of LOST_SECONDS."""
        late = now - self._next_tail > LATE_SECONDS
        self._next_tail = now + TAIL_SECONDS
        tail = self._commits.tail()
        self.reachable = tail is not None
        if tail is None or tail >= self._end.number:
            self._ahead_since = None
        elif self._ahead_since is None or late:
            self._ahead_since = now
        elif now - self._ahead_since > LOST_SECONDS:
            raise self._lost(tail)

    def status(self) -> dict[str, Any]:
        """Return role, writers and engine for Status."""
        role = "standby" if self.since is None else "active"
        found = {
            "host": self._host,
            "state": role,
            "role": role,
            "writer_since": self.since,
            "commit": self._end.number,
        }
        return {**found, "writers": self._writers.status(time.monotonic()), **self._commits.status()}

    def close(self) -> None:
        """Close the replica, and disconnect."""
        super().close()
        self._commits.close()
