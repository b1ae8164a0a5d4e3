"""The commits of a log in SQLite as bodies for a commit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualbus.log.body import BEGINNING, End, NewCommit, packed
from dualbus.log.contract import Decision, Head, LogDamaged, RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import EVENT_COLUMNS, OUTCOME_COLUMNS
from dualbus.log.sqlite.writer import new_commit

CHUNK_COMMITS = 1000


class StoredCommits(SqliteLogReader):
    """The log of a folder, read commit by commit. The process that writes the log may run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.last: int = self._db.execute("SELECT max(number) FROM commits").get or 0
        self._sorted = False

    def bodies(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the body of each commit after a number, up to `last`."""
        self._sort_tags()
        before = self.end(after)
        while before.number < self.last:
            for number in range(before.number + 1, min(before.number + CHUNK_COMMITS, self.last) + 1):
                end = self.end(number)
                secret = self.secret if number == 1 else b""
                yield number, packed(self.identity, before.hash, "", self._commit(before, end), secret)
                before = end

    def next_body(self, writer: str) -> bytes:
        """Return the body of a commit after `last`, with the name of its writer and no event; the same each time."""
        end = self.end(self.last)
        return packed(self.identity, end.hash, writer, new_commit(end, [Decision(writer, time="")]))

    def _sort_tags(self) -> None:
        """Copy the tags in the order of positions: the table of the log is sorted by tag."""
        if not self._sorted:
            self._db.execute(
                "CREATE TEMP TABLE sorted (position, tag, type, PRIMARY KEY (position, tag)) WITHOUT ROWID"
            )
            self._db.execute("INSERT INTO temp.sorted SELECT position, tag, type FROM main.tags ORDER BY 1, 2")
            self._sorted = True

    def end(self, number: int) -> End:
        """Return the end of the log at a commit. Raises LogDamaged for a missing commit."""
        if not number:
            return BEGINNING
        found = self._db.execute("SELECT position, outcomes, hash FROM commits WHERE number = ?", (number,)).get
        hash_ = self.hash_at(found[0]) if found else None
        if hash_ is None:
            raise LogDamaged(f"Commit {number} is missing in {self._path}: run `dualbus verify`.")
        position, outcomes, commit_hash = found
        return End(number, outcomes, commit_hash, Head(position, hash_))

    def _commit(self, before: End, end: End) -> NewCommit:
        positions = before.head.position + 1, end.head.position
        between = "WHERE position BETWEEN ? AND ? ORDER BY position"
        events = self._db.execute(f"SELECT {EVENT_COLUMNS} FROM events {between}", positions)  # noqa: S608
        tags: Any = self._db.execute(f"SELECT tag, type, position FROM temp.sorted {between}, tag", positions)  # noqa: S608
        outcomes: Any = self._db.execute(
            f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE number BETWEEN ? AND ? ORDER BY number",  # noqa: S608
            (before.outcomes + 1, end.outcomes),
        )
        return NewCommit(list(map(RecordedEvent._make, events)), list(tags), list(outcomes), end)
