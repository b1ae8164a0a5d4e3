"""The audit of a SQLite log: recompute every hash from the rows in the file.

The audit holds no lock. Rows up to the last commit at the latest `refresh` are read commit by commit; the log only
grows behind this commit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.error_text import one_line
from dualbus.application.messages import Event
from dualbus.log.chain import OutcomeRow, commit_hash, event_hash
from dualbus.log.contract import GENESIS, NO_HASH, Head, LogError, RecordedEvent, VerificationError
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import EVENT_COLUMNS, OUTCOME_COLUMNS, SCHEMA
from dualbus.log.tags import Tagger
from dualbus.runtime.sqlite_errors import is_full

CHUNK_COMMITS = 1000
_LOWEST = -(2**63)  # lower bound that includes rows with invalid numbers
_COMMIT_TYPES = (int, int, int, bytes)
_NULL = type(None)
_OUTCOME_TYPES = (
    *((int,), (str,), (bytes, _NULL), (int,), (int,), (str,)),
    *((str,), (str, _NULL), (int, _NULL), (str, _NULL), (str, _NULL), (str, _NULL)),  # of the origin
)


class LogAudit(SqliteLogReader):
    """An audit in progress: all rows up to `position` are verified."""

    def __init__(self, folder: Path, app: App) -> None:
        super().__init__(folder)
        self._app = app
        self._tagger = Tagger(app.private_tags, self.secret)
        self.position, self.hash = Head(0, NO_HASH)
        self.commits = self.outcomes_seen = self.refused = 0
        self._untagged: dict[str, int] = {}  # by type, the first event that lacks a tag of the application
        self._commit_hash = NO_HASH
        self._first = 1  # first position of the current commit
        self._check_schema()
        self._sort_tags()
        self.refresh()

    def _check_schema(self) -> None:
        sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        expected = apsw.Connection(":memory:")
        expected.execute(SCHEMA)
        try:
            same = self._db.execute(sql).fetchall() == expected.execute(sql).fetchall()
        except UnicodeDecodeError:
            same = False
        if not same:
            raise VerificationError(
                0, f"The schema of {self._path} is not the schema of a log: restore the log from a backup."
            )

    def _sort_tags(self) -> None:
        """Create a temporary table for the tags by position: the table of the log is sorted by tag."""
        self._db.execute(
            "CREATE TEMP TABLE sorted_tags (position, tag, type, PRIMARY KEY (position, tag, type)) WITHOUT ROWID"
        )

    def refresh(self) -> None:
        """Read the end of the log; `events` stops there."""
        try:
            # One snapshot. A context manager would hide a FullError behind the error of its ROLLBACK.
            self._db.execute("BEGIN")
            last = self._db.execute("SELECT number, position FROM commits ORDER BY number DESC LIMIT 1").get
            self._last_commit: Any
            self.end: Any
            self._last_commit, self.end = last or (0, 0)
            self._last_event: Any = self._db.execute("SELECT max(position) FROM events").get or 0
            self._last_outcome: Any = self._db.execute("SELECT max(number) FROM outcomes").get or 0
            self._db.execute("DELETE FROM temp.sorted_tags")
            self._db.execute(
                "INSERT INTO temp.sorted_tags SELECT position, tag, type FROM main.tags "
                "WHERE position NOT BETWEEN 1 AND ? ORDER BY 1, 2, 3",
                (self.position,),
            )
            self._db.execute("COMMIT")
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        if type(self._last_commit) is not int or type(self.end) is not int:
            raise VerificationError(self.position + 1, "The last commit has invalid values: restore the log.")

    def events(self) -> Iterator[tuple[RecordedEvent, Event]]:
        """Yield verified events in order; raise VerificationError at the first error."""
        try:
            while self.commits < self._last_commit:
                before = self.commits
                yield from self._chunk()
                if self.commits == before:
                    raise VerificationError(
                        self.position + 1, f"Commit {before + 1} disappeared during verification: restore the log."
                    )
            self._check_rest()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None

    def verified(self, after: int, until: int) -> Iterator[tuple[RecordedEvent, Event]]:
        """Yield events that are already verified, again."""
        while after < until:
            for recorded in self.read(after, min(until - after, CHUNK_COMMITS)):
                yield recorded, self._read(recorded)
                after = recorded.position

    def check_file(self) -> None:
        """Run SQLite's integrity check, which covers the index of the outcomes and the pages of the file."""
        try:
            result = self._db.execute("PRAGMA main.integrity_check(1)").get
        except (apsw.Error, UnicodeDecodeError) as error:
            if is_full(error):
                raise self._unreadable(error) from None
            result = str(error)
        if result != "ok":
            raise VerificationError(
                self.position,
                f"All rows of the log up to position {self.position} are readable, but SQLite reports a damaged file "
                f"({one_line(result)}): restore the log from a backup.",
            )

    def _unreadable(self, error: Exception) -> LogError:
        if is_full(error):  # reading needs space for temporary tables only
            return LogError(
                f"The log cannot be verified, because there is no space for temporary tables ({one_line(error)}): "
                "set TMPDIR to a folder with more space, and repeat."
            )
        return VerificationError(
            self.position + 1,
            f"{self._path} cannot be read at position {self.position + 1} or soon after ({one_line(error)}): "
            "restore it from a backup.",
        )

    def _chunk(self) -> Iterator[tuple[RecordedEvent, Event]]:
        rows = self._db.execute(
            "SELECT number, position, outcomes, hash FROM commits WHERE number BETWEEN ? AND ? "
            "ORDER BY number LIMIT ?",
            (self.commits + 1 if self.commits else _LOWEST, self._last_commit, CHUNK_COMMITS),
        ).fetchall()
        for row in rows:
            yield from self._commit(row)

    def _commit(self, row: tuple[Any, ...]) -> Iterator[tuple[RecordedEvent, Event]]:
        self._first = self.position + 1
        if tuple(map(type, row)) != _COMMIT_TYPES:
            raise self._bad_commit("has invalid values")
        number, position, last, hash_ = row
        if number != self.commits + 1:
            raise self._bad_commit(f"is missing; the next commit has the number {number}")
        outcomes = self._outcome_rows(last)
        owners = self._owners(outcomes)
        if len(owners) != position - self.position:
            end = self.position + len(owners)
            raise self._bad_commit(f"ends at position {position}, but its outcomes end at {end}")
        yield from self._commit_events(position, owners)
        if commit_hash(self._commit_hash, Head(position, self.hash), outcomes) != hash_:
            raise self._bad_commit("was changed, or the outcome of one of its commands was")
        self._commit_hash, self.commits, self.outcomes_seen = hash_, number, last
        self.refused += sum(1 for outcome in outcomes if outcome[5] != "[]")

    def _outcome_rows(self, last: int) -> list[OutcomeRow]:
        """Return the outcomes of the next commit; check types and consecutive numbers."""
        rows: list[Any] = self._db.execute(
            f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE number BETWEEN ? AND ? ORDER BY number",  # noqa: S608
            (self.outcomes_seen + 1 if self.outcomes_seen else _LOWEST, last),
        ).fetchall()
        for number, row in enumerate(rows, self.outcomes_seen + 1):
            if not all(type(value) in types for value, types in zip(row, _OUTCOME_TYPES, strict=True)):
                raise self._bad_commit(f"has an outcome, number {number}, with invalid values")
            if row[0] != number:
                raise self._bad_commit(f"lacks the outcome of a command, number {number}")
        if not rows or rows[-1][0] != last:
            raise self._bad_commit(f"lacks the outcome of a command, number {self.outcomes_seen + len(rows) + 1}")
        return rows

    def _owners(self, outcomes: list[OutcomeRow]) -> list[str]:
        """Return the command id for each position of the commit, according to the outcomes."""
        owners: list[str] = []
        for number, id_, _, first, count, errors, *_ in outcomes:
            if first != self.position + len(owners) + 1 or count < 0 or (errors != "[]" and count):
                raise self._bad_commit(f"has an outcome, number {number}, that does not follow the previous outcome")
            if (id_ == GENESIS) != (number == 1):
                raise self._bad_commit(f"has an outcome, number {number}, that contradicts genesis")
            owners += [id_] * min(count, self._last_event)  # a modified count must not exhaust the memory
        return owners

    def _commit_events(self, last: int, owners: list[str]) -> Iterator[tuple[RecordedEvent, Event]]:
        limits = self._first if self.position else _LOWEST, last
        tags: dict[int, list[str]] = {}
        indexed_types: dict[int, set[str]] = {}
        rows = self._db.execute("SELECT * FROM temp.sorted_tags WHERE position BETWEEN ? AND ?", limits)
        for position, tag, type_ in rows:
            if type(position) is not int or position < self._first:
                raise VerificationError(
                    self._first, f"A tag before position {self._first} belongs to no event: restore the log."
                )
            tags.setdefault(position, []).append(tag)
            indexed_types.setdefault(position, set()).add(type_)
        events = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE position BETWEEN ? AND ? ORDER BY position",  # noqa: S608
            limits,
        )
        for row in events:
            recorded = RecordedEvent._make(row)
            if recorded.position != self.position + 1:
                break
            event = self._event(recorded, tags.get(recorded.position, []))
            if not indexed_types.get(recorded.position, set()) <= {recorded.type}:
                raise self._changed_tags(recorded.position)
            if recorded.command_id != owners[recorded.position - self._first]:
                raise self._bad_commit("has an outcome whose events belong to another command")
            self.position, self.hash = recorded.position, recorded.hash
            yield recorded, event
        if self.position != last:
            raise VerificationError(
                self.position + 1, f"Position {self.position + 1} is missing in the log: restore the log."
            )

    def _event(self, recorded: RecordedEvent, tags: list[str]) -> Event:
        """Return the event; check hash and tags, and compare with the tags that the application assigns today."""
        position = recorded.position
        unchanged = self._matches(recorded, tags)
        try:
            event = self._read(recorded)
        except Unreadable as unreadable:
            if not unchanged:
                raise self._changed(position) from None
            raise VerificationError(
                position,
                f"Position {position} is unchanged, but the application cannot read it as {recorded.type} "
                f"({unreadable.cause}): add an upcast from this shape.",
            ) from None
        expected = sorted(set(self._tagger.tags(event_json.tags(event))))
        if not unchanged and self._matches(recorded, expected):
            raise self._changed_tags(position)
        if not unchanged:
            raise self._changed(position)
        if not set(expected) <= set(tags):
            self._untagged.setdefault(recorded.type, position)
        return event

    @property
    def warning(self) -> str:
        """A sentence if the application assigns tags that verified events were not written with, or ""."""
        if not self._untagged:
            return ""
        types = ", ".join(f"{type_} (from position {first} on)" for type_, first in sorted(self._untagged.items()))
        return (
            f"The application assigns tags to events that were not written with them: {types}. A decision that reads "
            "these tags does not find the events. Let it read their earlier tags too, or assign the tags again with "
            "`dualbus export` and `dualbus import`."
        )

    def _matches(self, recorded: RecordedEvent, tags: list[str]) -> bool:
        return event_hash(self.hash, recorded[:5], tags) == recorded.hash

    def _read(self, recorded: RecordedEvent) -> Event:
        return self._app.decode(recorded.type, recorded.data)

    def _changed_tags(self, position: int) -> VerificationError:
        return VerificationError(position, f"The tags of position {position} were changed: restore the log.")

    def _changed(self, position: int) -> VerificationError:
        return VerificationError(position, f"Position {position} was changed: restore the log from a backup.")

    def _bad_commit(self, error: str) -> VerificationError:
        number, first = self.commits + 1, self._first
        return VerificationError(
            first, f"Commit {number}, from position {first} on, {error}: restore the log from a backup."
        )

    def _check_rest(self) -> None:
        """Check that the tables hold no rows outside the commits."""
        beyond = self.position + 1
        if self._last_event != self.position:
            raise VerificationError(beyond, f"Position {beyond} is in the log but in no commit: restore the log.")
        if self._last_outcome != self.outcomes_seen:
            raise VerificationError(
                beyond, f"After position {self.position}, an outcome is in no commit: restore the log."
            )
        stray = self._db.execute(
            "SELECT position FROM temp.sorted_tags WHERE position NOT BETWEEN 1 AND ?", (self.end,)
        ).get
        if stray is not None:
            raise VerificationError(
                beyond, f"The log has a tag for position {stray}, which does not exist: restore the log."
            )
