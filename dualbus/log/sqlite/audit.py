"""A walk through the whole log that believes nothing: each hash is made again from what the file says now.

Nothing is locked while it goes on. What was committed when it looked is read a commit at a time, and the log
only ever grows behind that.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.error_text import one_line
from dualbus.application.messages import Event
from dualbus.log.chain import OutcomeRow, commit_hash, event_hash
from dualbus.log.contract import NO_HASH, Head, LogDamaged, RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import EVENT_COLUMNS, GENESIS, SCHEMA
from dualbus.log.tags import Tagger

CHUNK_COMMITS = 1000
_FIRST = -(2**63)  # from here on, so that a row before the first one is seen too
_COMMIT_KINDS = (int, int, int, bytes)
_OUTCOME_KINDS = ((int,), (str,), (bytes, type(None)), (int,), (int,), (str,))


class VerificationError(LogDamaged):
    """What does not hold; the text says what and where, `position` where the log stops being proven."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(text)
        self.position = position


class LogAudit(SqliteLogReader):
    """What has been proven so far: everything up to `position`, and nothing beyond."""

    def __init__(self, folder: Path, app: App) -> None:
        super().__init__(folder)
        self._app = app
        self._tagger = Tagger(app.private_tags, self.secret)
        self.position, self.hash = Head(0, NO_HASH)
        self.commits = self.outcomes_seen = self.refused = 0
        self._commit_hash = NO_HASH
        self._first = 1  # position of the commit that is being looked at
        self._check_schema()
        self._sort_tags()
        self.look()

    def _check_schema(self) -> None:
        sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        right = apsw.Connection(":memory:")
        right.execute(SCHEMA)
        try:
            same = self._db.execute(sql).fetchall() == right.execute(sql).fetchall()
        except UnicodeDecodeError:
            same = False
        if not same:
            raise VerificationError(
                0, f"The tables of {self._path} are not those of a log: restore it from a backup."
            )

    def _sort_tags(self) -> None:
        """Make room, in SQLite's temporary storage, for the tags by position: their own table is by tag."""
        self._db.execute("CREATE TEMP TABLE carried (position, tag, PRIMARY KEY (position, tag)) WITHOUT ROWID")

    def look(self) -> None:
        """See how far the log is now; that far, `events` will go."""
        try:
            with self._db:  # one snapshot
                last = self._db.execute("SELECT number, position FROM commits ORDER BY number DESC LIMIT 1").get
                self._last_commit: Any
                self.end: Any
                self._last_commit, self.end = last or (0, 0)
                self._last_event: Any = self._db.execute("SELECT max(position) FROM events").get or 0
                self._last_outcome: Any = self._db.execute("SELECT max(number) FROM outcomes").get or 0
                self._db.execute("DELETE FROM temp.carried")
                self._db.execute(
                    "INSERT INTO temp.carried SELECT position, tag FROM main.tags "
                    "WHERE position NOT BETWEEN 1 AND ? ORDER BY 1, 2",
                    (self.position,),
                )
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        if type(self._last_commit) is not int or type(self.end) is not int:
            raise VerificationError(
                self.position + 1, "The last commit is not of the form it was written in: restore the log."
            )

    def events(self) -> Iterator[tuple[RecordedEvent, Event]]:
        """Yield each event, proven, in order; raise Broken at the first thing that does not hold."""
        try:
            while self.commits < self._last_commit:
                before = self.commits
                yield from self._chunk()
                if self.commits == before:
                    raise VerificationError(
                        self.position + 1, f"Commit {before + 1} was there, and is gone: restore the log."
                    )
            self._check_rest()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None

    def proven(self, after: int, until: int) -> Iterator[tuple[RecordedEvent, Event]]:
        """Yield events that were proven before, once more."""
        while after < until:
            for recorded in self.read(after, min(until - after, CHUNK_COMMITS)):
                yield recorded, self._read(recorded)
                after = recorded.position

    def check_file(self) -> None:
        """Let SQLite check what rows do not show: the index of the outcomes, and the pages."""
        try:
            said = self._db.execute("PRAGMA main.integrity_check(1)").get
        except (apsw.Error, UnicodeDecodeError) as error:
            said = str(error)
        if said != "ok":
            raise VerificationError(
                self.position,
                f"Every row of the log can be read up to position {self.position}, and SQLite finds its file "
                f"damaged ({one_line(said)}): restore it from a backup.",
            )

    def _unreadable(self, error: Exception) -> VerificationError:
        return VerificationError(
            self.position + 1,
            f"{self._path} cannot be read at position {self.position + 1} or soon after ({one_line(error)}): "
            "restore it from a backup.",
        )

    def _chunk(self) -> Iterator[tuple[RecordedEvent, Event]]:
        rows = self._db.execute(
            "SELECT number, position, outcomes, hash FROM commits WHERE number BETWEEN ? AND ? "
            "ORDER BY number LIMIT ?",
            (self.commits + 1 if self.commits else _FIRST, self._last_commit, CHUNK_COMMITS),
        ).fetchall()
        for row in rows:
            yield from self._commit(row)

    def _commit(self, row: tuple[Any, ...]) -> Iterator[tuple[RecordedEvent, Event]]:
        self._first = self.position + 1
        if tuple(map(type, row)) != _COMMIT_KINDS:
            raise self._bad_commit("is not of the form it was written in")
        number, position, last, hash_ = row
        if number != self.commits + 1:
            raise self._bad_commit(f"is missing; the next one has the number {number}")
        outcomes = self._outcome_rows(last)
        owners = self._owners(outcomes)
        if len(owners) != position - self.position:
            ends = self.position + len(owners)
            raise self._bad_commit(f"says that it ends at position {position}, and its commands say {ends}")
        yield from self._commit_events(position, owners)
        if commit_hash(self._commit_hash, Head(position, self.hash), outcomes) != hash_:
            raise self._bad_commit("is not as it was written, or the outcome of one of its commands is not")
        self._commit_hash, self.commits, self.outcomes_seen = hash_, number, last
        self.refused += sum(1 for outcome in outcomes if outcome[5] != "[]")

    def _outcome_rows(self, last: int) -> list[OutcomeRow]:
        """Return the outcomes of the next commit, numbered without a hole and of the right form."""
        rows: list[Any] = self._db.execute(
            "SELECT number, command_id, fingerprint, first, events, errors FROM outcomes "
            "WHERE number BETWEEN ? AND ? ORDER BY number",
            (self.outcomes_seen + 1 if self.outcomes_seen else _FIRST, last),
        ).fetchall()
        for number, row in enumerate(rows, self.outcomes_seen + 1):
            if not all(type(value) in kinds for value, kinds in zip(row, _OUTCOME_KINDS, strict=True)):
                raise self._bad_commit(f"has an outcome, number {number}, that is not of the form it was written in")
            if row[0] != number:
                raise self._bad_commit(f"lacks the outcome of a command, number {number}")
        if not rows or rows[-1][0] != last:
            raise self._bad_commit(f"lacks the outcome of a command, number {self.outcomes_seen + len(rows) + 1}")
        return rows

    def _owners(self, outcomes: list[OutcomeRow]) -> list[str]:
        """Return the command of each position of the commit, as its outcomes say."""
        owners: list[str] = []
        for number, id_, _, first, count, errors in outcomes:
            if first != self.position + len(owners) + 1 or count < 0 or (errors != "[]" and count):
                raise self._bad_commit(f"has an outcome, number {number}, that does not follow the one before it")
            if (id_ == GENESIS) != (number == 1):
                raise self._bad_commit(f"has an outcome, number {number}, that mistakes what the log began with")
            owners += [id_] * min(count, self._last_event)  # an edited count must not fill the memory
        return owners

    def _commit_events(self, last: int, owners: list[str]) -> Iterator[tuple[RecordedEvent, Event]]:
        limits = self._first if self.position else _FIRST, last
        tags: dict[int, list[str]] = {}
        rows = self._db.execute("SELECT position, tag FROM temp.carried WHERE position BETWEEN ? AND ?", limits)
        for position, tag in rows:
            if type(position) is not int or position < self._first:
                raise VerificationError(
                    self._first, f"Before position {self._first} there is a tag of no position: restore the log."
                )
            tags.setdefault(position, []).append(tag)
        events = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE position BETWEEN ? AND ? ORDER BY position",  # noqa: S608
            limits,
        )
        for row in events:
            recorded = RecordedEvent._make(row)
            if recorded.position != self.position + 1:
                break
            event = self._event(recorded, tags.get(recorded.position, []))
            if recorded.command_id != owners[recorded.position - self._first]:
                raise self._bad_commit("has an outcome that gives its events to another command")
            self.position, self.hash = recorded.position, recorded.hash
            yield recorded, event
        if self.position != last:
            raise VerificationError(
                self.position + 1, f"Position {self.position + 1} is missing in the log: restore it."
            )

    def _event(self, recorded: RecordedEvent, tags: list[str]) -> Event:
        """Return the event, if it is as it was written and carries the tags that the application gives it."""
        position = recorded.position
        right = self._matches(recorded, tags)
        try:
            event = self._read(recorded)
        except Unreadable as unreadable:
            if not right:
                raise self._changed(position) from None
            raise VerificationError(
                position,
                f"Position {position} is as it was written, and the application cannot read it as "
                f"{recorded.type} ({unreadable.cause}): give it an upcast from that shape.",
            ) from None
        given = sorted(set(self._tagger.tags(event.tags())))
        if not right and self._matches(recorded, given):
            raise VerificationError(
                position, f"The tags of position {position} are not those it was written with: restore the log."
            )
        if not right:
            raise self._changed(position)
        if not set(given) <= set(tags):
            raise VerificationError(
                position,
                f"Position {position} is as it was written, and the application gives its {recorded.type} tags that "
                "it was not written with: a decision that reads those does not find it.",
            )
        return event

    def _matches(self, recorded: RecordedEvent, tags: list[str]) -> bool:
        return event_hash(self.hash, recorded[:5], tags) == recorded.hash

    def _read(self, recorded: RecordedEvent) -> Event:
        return self._app.decode(recorded.type, recorded.data)

    def _changed(self, position: int) -> VerificationError:
        return VerificationError(
            position, f"Position {position} is not as it was written: restore the log from a backup."
        )

    def _bad_commit(self, what: str) -> VerificationError:
        number, first = self.commits + 1, self._first
        return VerificationError(
            first, f"Commit {number}, from position {first} on, {what}: restore the log from a backup."
        )

    def _check_rest(self) -> None:
        """See that there is nothing but what the commits hold."""
        beyond = self.position + 1
        if self._last_event != self.position:
            raise VerificationError(
                beyond, f"Position {beyond} is in the log, and no commit has it: restore the log."
            )
        if self._last_outcome != self.outcomes_seen:
            raise VerificationError(
                beyond, f"After position {self.position} there is an outcome that no commit has: restore it."
            )
        stray = self._db.execute(
            "SELECT position FROM temp.carried WHERE position NOT BETWEEN 1 AND ?", (self.end,)
        ).get
        if stray is not None:
            raise VerificationError(
                beyond, f"There is a tag for position {stray}, and the log has no such position: restore it."
            )
