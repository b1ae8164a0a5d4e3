"""Copy a log while commandbus writes, cut the copy at a position, start a new incarnation."""

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
from dualbus.log.sqlite.schema import FILE_NAME, OUTCOME_COLUMNS
from dualbus.runtime.files import is_there, sync_folder

PAGES = 1000  # per step

Progress = Callable[[int, int], None]


class LogFile(SqliteLogReader):
    """A log file with any name, opened read-only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open(apsw.SQLITE_OPEN_READONLY)

    def copy_to(self, path: Path, progress: Progress) -> None:
        """Copy a snapshot of the log, without later commits."""
        ours = apsw.Connection(str(path))
        try:
            self._db.execute("BEGIN")
            self.head()  # this read starts the snapshot, so that a commit does not restart the backup
            with ours.backup("main", self._db, "main") as copying:
                while not copying.done:
                    copying.step(PAGES)
                    progress(copying.page_count - copying.remaining, copying.page_count)
        except apsw.Error as error:
            raise LogError(f"{self._path} could not be copied ({error}): check the free space on the disk.") from None
        finally:
            ours.close()


class LogCopy(SqliteLogReader):
    """A copy of a log in a private folder; no other process has opened the copy."""

    def __init__(self, source: Path, folder: Path, progress: Progress = lambda done, total: None) -> None:
        self._path = folder / FILE_NAME
        file = LogFile(source)
        file.copy_to(self._path, progress)
        file.close()
        self._open(apsw.SQLITE_OPEN_READWRITE)
        self._db.pragma("journal_mode", "delete")  # a single file, even after a crash
        self._db.pragma("synchronous", "full")
        self._db.pragma("secure_delete", True)  # deleted events must not remain readable in the file

    def cut(self, position: int) -> None:
        """Delete everything after a position. Raises LogError for a position within a command or outside the log."""
        head = self.head().position
        if not 0 < position <= head:
            raise LogError(f"The log has positions 1 to {head}: choose one of them; {position} is not in the log.")
        last, end = self._last_outcome(position)
        if end != position:
            after = self._one("SELECT min(first + events - 1) FROM outcomes WHERE first + events - 1 > ?", position)
            raise LogError(
                f"Position {position} is between two events of the same command, which cannot be separated: "
                f"choose {end or 'none'} or {after}."
            )
        with self._db:
            self._db.execute("DELETE FROM events WHERE position > ?", (position,))
            self._db.execute("DELETE FROM tags WHERE position > ?", (position,))
            self._db.execute("DELETE FROM outcomes WHERE number > ?", (last,))
            self._db.execute("DELETE FROM commits WHERE outcomes > ?", (last,))
            self._close_commit(position, last)

    def _last_outcome(self, position: int) -> tuple[int, int]:
        """Return number and position of the last command that is complete at a position."""
        found = self._db.execute(
            "SELECT number, first + events - 1 FROM outcomes WHERE first + events - 1 <= ? "
            "ORDER BY number DESC LIMIT 1",
            (position,),
        ).get
        return found or (0, 0)

    def _close_commit(self, position: int, last: int) -> None:
        """Create a commit for the remaining outcomes of a commit that was cut, if any remain."""
        number, had, before = self._db.execute(
            "SELECT number, outcomes, hash FROM commits ORDER BY number DESC LIMIT 1"
        ).get or (0, 0, NO_HASH)
        if had == last:
            return
        rows: list[Any] = self._db.execute(
            f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE number > ? ORDER BY number",  # noqa: S608
            (had,),
        ).fetchall()
        head = Head(position, self._one("SELECT hash FROM events WHERE position = ?", position))
        hash_ = commit_hash(before, head, rows)
        self._db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number + 1, position, last, hash_))

    def _one(self, sql: str, value: int) -> Any:
        return self._db.execute(sql, (value,)).get

    def begin_new_incarnation(self) -> None:
        """Start a new incarnation of the log, so that read models of the earlier incarnation notice the restore."""
        self.identity = Identity(self.identity.log, str(uuid_utils.uuid7()))
        self._db.execute(
            "UPDATE meta SET incarnation = ?, hash = ?",
            (self.identity.incarnation, meta_hash(self.identity, self.secret)),
        )

    def lacks(self, acknowledged: Acknowledged) -> str:
        """Return a sentence about the acknowledged commits missing in the copy; empty if none are missing."""
        end, position = self.head().position, acknowledged.head.position
        if end < position:
            return (
                f"Positions {end + 1} to {position} were acknowledged in this folder and are not in the restored log."
            )
        if self.hash_at(position) != acknowledged.head.hash:
            return (
                f"Position {position} was acknowledged in this folder with different content than in the restored "
                "log; earlier positions may differ too."
            )
        if end == position and self.commit_hash_at(acknowledged.commit) != acknowledged.commit_hash:
            return f"Refusals were acknowledged in this folder after position {end}, and the restored log lacks them."
        return ""

    def record_head(self) -> None:
        """Create log.head beside the copy."""
        number, hash_ = self._db.execute("SELECT number, hash FROM commits ORDER BY number DESC LIMIT 1").get or (
            0,
            NO_HASH,
        )
        write_head(self._path.parent, Acknowledged(self.identity, number, self.head(), hash_))

    def move_to(self, path: Path) -> None:
        """Close the copy and rename the file durably."""
        self._db.close()
        sync_folder(self._path.parent)
        self._path.rename(path)
        sync_folder(path.parent)


def move_into(data: Path, folder: Path) -> None:
    """Move a new log and log.head, both durable, from a folder on the same disk into the data folder.

    log.head moves first: log.head without a log prevents commandbus from creating an empty log. Raises LogError if
    the log still has a -wal file: SQLite does not report a failed checkpoint when the log is closed.
    """
    if is_there(folder / f"{FILE_NAME}-wal"):
        raise LogError(
            f"The new log could not be moved to {data}, because its commits could not be written into {FILE_NAME}: "
            "free some space on the disk, or end other processes that read the new log, and repeat the command."
        )
    for name in (HEAD_FILE_NAME, FILE_NAME):
        (folder / name).rename(data / name)
        sync_folder(data)
