"""The reactor's own file: positions, timers and parked events of the reactions, changed in a transaction.

The content derives from the log, except the numbers of attempts. The command line writes orders into the file (fire,
cancel, retry, skip) for the reactor.
"""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from dualbus.log.identity import Identity
from dualbus.reactions.schema import (
    APPLICATION_ID,
    COUNTS,
    FORMAT,
    PARK,
    POSTPONE,
    REMOVE,
    REMOVE_BEYOND,
    REMOVE_PASSED,
    RETRIED,
    SCHEMA,
    SET,
    TIMER_COLUMNS,
    TRIED,
    TRY_BY,
)
from dualbus.runtime.errors import DataError
from dualbus.runtime.sqlite_errors import is_full

FILE_NAME = "reactor.db"
STANDBY_NAME = "reactor.standby"  # exists while the reactor of another host runs the reactions
RETRY, SKIP, FIRE, CANCEL = "retry", "skip", "fire", "cancel"
ATTEMPT_FINISHED = -1  # the number of an attempt that has succeeded, beyond the position of the reaction

_ENCODER = json.JSONEncoder(separators=(",", ":"))  # json.dumps would create an encoder for each call


class StoreFull(DataError):
    """The file cannot be written, because the disk is full."""


class Progress(NamedTuple):
    """The position up to which a reaction has finished all events."""

    position: int
    hash: bytes  # of the event at the position
    rebuilt: int  # up to this position, an earlier file had perhaps finished the events


class Timer(NamedTuple):
    """A pending timer, or the next time of a schedule."""

    reaction: str
    schedule: int  # 1 for a schedule
    name: str
    due: int  # microseconds since 1970
    key: str  # of the command
    position: int  # of the event; 0 for a schedule
    type: str
    payload: str  # JSON
    origin: str  # JSON
    tries: int = 0
    error: str = ""
    command: str = ""  # FIRE or CANCEL

    @property
    def id(self) -> tuple[str, int, str]:
        """The primary key."""
        return self.reaction, self.schedule, self.name


class Removed(NamedTuple):
    """A cancelled or fired timer."""

    reaction: str
    name: str
    schedule: int = 0
    key: str = ""  # of the fired timer; a later timer of the same name stays


class Parked(NamedTuple):
    """A parked event of a reaction."""

    reaction: str
    position: int
    reason: str
    time: str
    tries: int = 0
    due: int = 0  # microseconds since 1970, of the next try; 0 without another try
    follows: int = 0  # the parked position before this event; 0 for a failed event
    command: str = ""  # RETRY or SKIP


class Attempted(NamedTuple):
    """The last attempt of an effect: begun, and perhaps not ended."""

    reaction: str
    position: int
    number: int  # or ATTEMPT_FINISHED


class Counts(NamedTuple):
    """Numbers of a reaction."""

    timers: int = 0
    parked: int = 0  # events without another try
    waiting: int = 0  # events with another try, or behind a parked event


@dataclass(slots=True)
class Changes:
    """The changes of a transaction, in order: later changes of the same timer win."""

    progress: dict[str, Progress] = field(default_factory=dict)
    timers: list[Timer | Removed] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[tuple[str, int]] = field(default_factory=list)
    retried: list[tuple[str, int]] = field(default_factory=list)  # by command of an operator
    attempts: list[Attempted] = field(default_factory=list)
    finished: list[tuple[str, int]] = field(default_factory=list)  # events with attempts
    durable: bool = False  # an effect has finished: a power cut must not repeat the effect

    def __bool__(self) -> bool:
        changed = (self.progress, self.timers, self.parked, self.unparked, self.retried, self.attempts, self.finished)
        return any(changed)

    def add(self, other: "Changes") -> None:
        """Add the changes of another part of the reactor."""
        self.progress |= other.progress
        self.timers += other.timers
        self.parked += other.parked
        self.unparked += other.unparked
        self.retried += other.retried
        self.attempts += other.attempts
        self.finished += other.finished
        self.durable |= other.durable


class ReactionStore:
    """The open file. Raises DataError if the file cannot be read or written."""

    def __init__(self, folder: Path, identity: Identity | None = None) -> None:
        """Open the file; with the identity of a log, create a missing file."""
        self.path = folder / FILE_NAME
        self.adopted = False  # a restored log, by this object
        with _usable(self.path):
            if identity is None and not self.path.exists():
                raise DataError(f"There is no {self.path}: start reactor, which creates the file.")
            self._db = apsw.Connection(str(self.path), statementcachesize=64)
            self._db.set_busy_timeout(5000)
            self._db.pragma("journal_mode", "wal")
            self._db.pragma("recursive_triggers", True)  # a replaced timer is counted as removed
            if identity and not self._db.pragma("application_id"):
                with self._db:
                    self._db.execute(SCHEMA)
                    self._db.pragma("application_id", APPLICATION_ID)
                    self._db.pragma("user_version", FORMAT)
                    self._db.execute("INSERT INTO meta VALUES (1, ?, ?)", identity)
            if (self._db.pragma("application_id"), self._db.pragma("user_version")) != (APPLICATION_ID, FORMAT):
                raise DataError(
                    f"{self.path} is not a file of this version of reactor: move it away, and start reactor again, "
                    "which derives the file from the log."
                )
            if identity:
                self._db.execute(TRIED)
            self.identity = Identity(*self._db.execute("SELECT log, incarnation FROM meta").get)
            self._inode = self.path.stat().st_ino

    def replaced(self) -> bool:
        """Return whether the file was removed or replaced."""
        try:
            return os.stat(self.path).st_ino != self._inode
        except OSError:
            return True

    def adopt(self, identity: Identity, kept: Collection[str]) -> None:
        """Follow a changed log: forget all reactions but those to keep, whose past events are the same."""
        with _usable(self.path), self._db:  # beyond these positions, the log may have other events
            self._db.execute("DELETE FROM attempts")
            for table, column in (("reactions", "name"), ("timers", "reaction"), ("parked", "reaction")):
                sql = f"DELETE FROM {table} WHERE {column} NOT IN (SELECT value FROM json_each(?))"  # noqa: S608
                self._db.execute(sql, (as_json(list(kept)),))
            self._db.execute(REMOVE_BEYOND)
            self._db.execute("UPDATE meta SET log = ?, incarnation = ?", identity)
        self.adopted = True

    def progress(self) -> dict[str, Progress]:
        """Return the progress of each reaction."""
        with _usable(self.path):
            rows = self._db.execute("SELECT name, position, hash, rebuilt FROM reactions")
            return {name: Progress(*rest) for name, *rest in rows}

    def write(self, changes: Changes) -> None:
        """Write changes in a transaction. Raises StoreFull without a change."""
        with _usable(self.path):
            self._db.pragma("synchronous", "full" if changes.durable else "normal")
            with self._db:
                for name, progress in changes.progress.items():
                    self._db.execute("INSERT OR REPLACE INTO reactions VALUES (?, ?, ?, ?)", (name, *progress))
                for sql, group in groupby(changes.timers, _statement):
                    self._db.executemany(sql, map(_values, group))
                self._db.executemany(PARK, changes.parked)
                self._db.executemany(RETRIED, changes.retried)
                self._db.executemany("DELETE FROM parked WHERE (reaction, position) = (?, ?)", changes.unparked)
                self._db.executemany("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?)", changes.attempts)
                self._db.executemany("DELETE FROM attempts WHERE (reaction, position) = (?, ?)", changes.finished)
                if changes.progress or changes.attempts:
                    self._db.execute(REMOVE_PASSED, (ATTEMPT_FINISHED,))

    def due(self, reaction: str, now: int, limit: int) -> list[Timer]:
        """Return the due timers of a reaction, oldest first."""
        return self._timers("reaction = ? AND due <= ? ORDER BY due LIMIT ?", (reaction, now, limit))

    def next_due(self, reaction: str, after: int) -> int | None:
        """Return the time of the next timer of a reaction that is due after a time."""
        sql = "SELECT min(due) FROM timers WHERE reaction = ? AND due >= ?"
        with _usable(self.path):
            found: int | None = self._db.execute(sql, (reaction, after)).get
            return found

    def schedules(self, reaction: str) -> dict[str, Timer]:
        """Return the next times of the schedules of a reaction, by name."""
        return {timer.name: timer for timer in self._timers("reaction = ? AND schedule = 1", (reaction,))}

    def try_by(self, reaction: str, latest: int) -> None:
        """Try the timers whose commands have failed again by a time: the clock was ahead when they were postponed."""
        with _usable(self.path):
            self._db.execute(TRY_BY, (reaction, latest))

    def timers(self, reaction: str | None = None, limit: int = 100) -> list[Timer]:
        """Return the next timers, of a reaction or of all."""
        with _usable(self.path):
            every = self._db.execute("SELECT DISTINCT reaction FROM pending").fetchall()
        names = [name for (name,) in every if reaction in (None, name)]
        found = (self._timers("reaction = ? ORDER BY due LIMIT ?", (name, limit)) for name in names)
        return sorted(chain.from_iterable(found), key=attrgetter("due"))[:limit]

    def _timers(self, condition: str, values: Sequence[Any]) -> list[Timer]:
        with _usable(self.path):
            rows = self._db.execute(f"SELECT {TIMER_COLUMNS} FROM timers WHERE {condition}", values)  # noqa: S608
            return list(map(Timer._make, rows))

    def parked(self, reaction: str | None = None, *, commanded: bool = False) -> list[Parked]:
        """Return the parked events in order; `commanded`: those with a command of an operator."""
        condition = "? IN ('', reaction)" + (" AND command <> ''" if commanded else "")
        sql = f"SELECT * FROM parked WHERE {condition} ORDER BY 1, 2"  # noqa: S608
        with _usable(self.path):
            return list(map(Parked._make, self._db.execute(sql, (reaction or "",))))

    def counts(self) -> dict[str, Counts]:
        """Return the numbers of timers and of parked events of each reaction."""
        with _usable(self.path):
            return {name: Counts(*numbers) for name, *numbers in self._db.execute(COUNTS)}

    def attempts(self, reaction: str) -> dict[int, int]:
        """Return the number of the last attempt by position, of unfinished events of a reaction."""
        sql = "SELECT position, number FROM attempts WHERE reaction = ?"
        with _usable(self.path):
            found: dict[int, int] = dict(self._db.execute(sql, (reaction,)))
            return found

    def command_timer(self, reaction: str, name: str, command: str) -> bool:
        """Fire or cancel a timer: record the command for the reactor; return whether the timer exists."""
        self._check_role()
        sql = "UPDATE timers SET command = ?, due = 0 WHERE (reaction, schedule, name) = (?, 0, ?)"
        return self._changed(sql, (command, reaction, name))

    def command_parked(self, reaction: str, position: int, command: str) -> bool:
        """Retry or skip a parked event: record the command for the reactor; return whether the event is parked."""
        self._check_role()
        sql = "UPDATE parked SET command = ? WHERE (reaction, position) = (?, ?)"
        return self._changed(sql, (command, reaction, position))

    def _check_role(self) -> None:
        if self.path.with_name(STANDBY_NAME).exists():
            raise DataError(
                "The reactor of this host stands by: run the command on the host whose reactor is following; "
                "`dualbus status` on a host shows its reactor."
            )

    def _changed(self, sql: str, values: Sequence[Any]) -> bool:
        with _usable(self.path):
            self._db.execute(sql, values)
            return self._db.changes() > 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _statement(change: Timer | Removed) -> str:
    if isinstance(change, Removed):
        return REMOVE
    return POSTPONE if change.tries else SET


def _values(change: Timer | Removed) -> tuple[Any, ...]:
    if isinstance(change, Timer) and change.tries:
        return (change.due, change.tries, change.error, *change.id, change.key)
    return change


def as_json(value: Any) -> str:
    """Return a value as the text of a column."""
    return _ENCODER.encode(value)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        if is_full(error) or getattr(error, "errno", None) == ENOSPC:
            raise StoreFull(f"{path} cannot be written ({error}): free some space.") from None
        raise DataError(
            f"{path} cannot be used ({error}): check its owner, or move the file away; reactor then derives it from "
            "the log again."
        ) from None
