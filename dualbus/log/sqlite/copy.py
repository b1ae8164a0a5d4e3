"""Copies of a log: taken while it is written, cut at a position, given a new life."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import uuid_utils

from dualbus.log.chain import commit_hash, meta_hash
from dualbus.log.contract import NO_HASH, Head, LogError
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, write_head
from dualbus.log.identity import Identity
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.runtime.files import sync_folder

PAGES = 1000  # of one step

Progress = Callable[[int, int], None]


class LogFile(SqliteLogReader):
    """A log under any name, opened so that it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open(apsw.SQLITE_OPEN_READONLY)

    def copy_to(self, path: Path, progress: Progress) -> None:
        """Copy one moment of the log: of what is written to it meanwhile, nothing."""
        ours = apsw.Connection(str(path))
        try:
            self._db.execute("BEGIN")
            self.head()  # from here on it is one snapshot, and the copying need never begin again
            with ours.backup("main", self._db, "main") as copying:
                while not copying.done:
                    copying.step(PAGES)
                    progress(copying.page_count - copying.remaining, copying.page_count)
        except apsw.Error as error:
            raise LogError(f"{self._path} could not be copied ({error}): see whether there is room.") from None
        finally:
            ours.close()


class LogCopy(SqliteLogReader):
    """A copy of a log in a folder of its own, which nobody else has open."""

    def __init__(self, source: Path, folder: Path, progress: Progress = lambda done, total: None) -> None:
        self._path = folder / FILE_NAME
        file = LogFile(source)
        file.copy_to(self._path, progress)
        file.close()
        self._open(apsw.SQLITE_OPEN_READWRITE)
        self._db.pragma("journal_mode", "delete")  # one file, also after a crash
        self._db.pragma("synchronous", "full")
        self._db.pragma("secure_delete", True)  # what is cut off is not to be read any more

    def cut(self, position: int) -> None:
        """Take away what came after a position. Raises LogError if it is within a command, or not there."""
        head = self.head().position
        if not 0 < position <= head:
            raise LogError(f"The log goes from position 1 to {head}, and {position} is not in it: give one that is.")
        last, end = self._last_outcome(position)
        if end != position:
            after = self._one("SELECT min(first + events - 1) FROM outcomes WHERE first + events - 1 > ?", position)
            raise LogError(
                f"Position {position} is in the middle of a command, whose events stand or fall together: "
                f"give {end or 'none'} or {after}."
            )
        with self._db:
            self._db.execute("DELETE FROM events WHERE position > ?", (position,))
            self._db.execute("DELETE FROM tags WHERE position > ?", (position,))
            self._db.execute("DELETE FROM outcomes WHERE number > ?", (last,))
            self._db.execute("DELETE FROM commits WHERE outcomes > ?", (last,))
            self._close_commit(position, last)

    def _last_outcome(self, position: int) -> tuple[int, int]:
        """Return the number of the last command that is whole at a position, and its own position."""
        found = self._db.execute(
            "SELECT number, first + events - 1 FROM outcomes WHERE first + events - 1 <= ? "
            "ORDER BY number DESC LIMIT 1",
            (position,),
        ).get
        return found or (0, 0)

    def _close_commit(self, position: int, last: int) -> None:
        """Make a commit of what is left of the one that was cut in two, if one was."""
        number, had, before = self._db.execute(
            "SELECT number, outcomes, hash FROM commits ORDER BY number DESC LIMIT 1"
        ).get or (0, 0, NO_HASH)
        if had == last:
            return
        rows: list[Any] = self._db.execute(
            "SELECT * FROM outcomes WHERE number > ? ORDER BY number", (had,)
        ).fetchall()
        head = Head(position, self._one("SELECT hash FROM events WHERE position = ?", position))
        hash_ = commit_hash(before, head, rows)
        self._db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number + 1, position, last, hash_))

    def _one(self, sql: str, value: int) -> Any:
        return self._db.execute(sql, (value,)).get

    def begin_new_incarnation(self) -> None:
        """Give the log a new incarnation: what followed its earlier life finds that this is another."""
        self.identity = Identity(self.identity.log, str(uuid_utils.uuid7()))
        self._db.execute(
            "UPDATE meta SET incarnation = ?, hash = ?",
            (self.identity.incarnation, meta_hash(self.identity, self.secret)),
        )

    def lacks(self, acknowledged: Acknowledged) -> str:
        """Return a sentence that says what was acknowledged and is not in the copy; none if nothing is."""
        end, position = self.head().position, acknowledged.head.position
        if end < position:
            return (
                f"Positions {end + 1} to {position} were acknowledged in this folder and are not in the restored log."
            )
        if self.hash_at(position) != acknowledged.head.hash:
            return (
                f"Position {position} was acknowledged in this folder with another content than the restored log has "
                "at it; an earlier position may differ too."
            )
        if end == position and self.commit_hash_at(acknowledged.commit) != acknowledged.commit_hash:
            return f"Refusals were acknowledged in this folder after position {end}, and the restored log lacks them."
        return ""

    def record_head(self) -> None:
        """Make the log.head of the copy, beside it."""
        number, hash_ = self._db.execute("SELECT number, hash FROM commits ORDER BY number DESC LIMIT 1").get or (
            0,
            NO_HASH,
        )
        write_head(self._path.parent, Acknowledged(self.identity, number, self.head(), hash_))

    def move_to(self, path: Path) -> None:
        """Close the copy, and give it its name, durably."""
        self._db.close()
        sync_folder(self._path.parent)
        self._path.rename(path)
        sync_folder(path.parent)


def move_into(data: Path, folder: Path) -> None:
    """Move a new log with its log.head, both durable, from a folder on the same disk into the data folder.

    log.head moves first: without its log, it keeps commandbus from beginning with an empty one.
    """
    for name in (HEAD_FILE_NAME, FILE_NAME):
        (folder / name).rename(data / name)
        sync_folder(data)
