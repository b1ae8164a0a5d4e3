"""The log in one SQLite file: one writer, any number of readers, a hash chain through it all.

Every table is covered by a hash: an event's takes in its row, its tags and the hash before it; a commit's
takes in the outcomes it wrote, the head it reached and the commit before it; that of the log's identity, which
changes when it is restored, stands beside it.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import uuid_utils

from dualbus.chain import OutcomeRow, commit_hash, event_hash, meta_hash
from dualbus.files import is_there, lock_data, make_folder, sync_file, sync_folder, usable
from dualbus.log import (
    NO_HASH,
    Appended,
    CommitFailed,
    Decision,
    Head,
    LogDamaged,
    LogError,
    LogUnavailable,
    Outcome,
    RecordedEvent,
)
from dualbus.log_head import Acknowledged, HeadFile
from dualbus.sqlite_errors import readable, unusable
from dualbus.wire import Identity
from dualbus.witness import check_witnesses

FILE_NAME = "log.db"
APPLICATION_ID = 0x64426C67  # "dBlg", so that no other SQLite file is taken for a log
FORMAT = 1
CHECKPOINT_PAGES = 4000  # 16 MiB: the same page, written by many commits, goes into the file once

SCHEMA = f"""
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, incarnation TEXT NOT NULL,
    secret BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE events (position INTEGER PRIMARY KEY, type TEXT NOT NULL, data TEXT NOT NULL, time TEXT NOT NULL,
    command_id TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE tags (tag TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tag, position))
    STRICT, WITHOUT ROWID;
CREATE TABLE outcomes (number INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, fingerprint BLOB,
    first INTEGER NOT NULL, events INTEGER NOT NULL, errors TEXT NOT NULL) STRICT;
CREATE TABLE commits (number INTEGER PRIMARY KEY, position INTEGER NOT NULL, outcomes INTEGER NOT NULL,
    hash BLOB NOT NULL) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
ONE_OUTCOME = "SELECT command_id, fingerprint, first, events, errors FROM outcomes WHERE command_id = ?"
ANY_OUTCOME = "SELECT 1 FROM outcomes WHERE command_id BETWEEN ? AND ? LIMIT 1"
MANY_OUTCOMES = ONE_OUTCOME.replace("= ?", "IN (SELECT value FROM json_each(?))")
ROWS_A_STATEMENT = 32
FEW = 10  # command ids that are looked up faster one by one
EVENT_COLUMNS = "position, type, data, time, command_id, hash"
GENESIS = "genesis"  # the command id of a log's first events


@cache
def _insert_sql(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"  # noqa: S608


class SqliteLogReader:
    """The log, opened so that it cannot be written. Raises LogError if there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        if not is_there(self._path):
            raise LogError(f"There is no log at {self._path}: start commandbus, which makes it.")
        self._open(apsw.SQLITE_OPEN_READONLY)

    def _open(self, flags: int) -> None:
        with readable(self._path):
            self._db = apsw.Connection(str(self._path), flags=flags, statementcachesize=64)
            self._db.set_busy_timeout(5000)
            self._check_format()
            id_, incarnation, self.secret, hash_ = self._db.execute(
                "SELECT id, incarnation, secret, hash FROM meta"
            ).get
        self.identity = Identity(id_, incarnation)
        if meta_hash(self.identity, self.secret) != hash_:
            raise LogDamaged(f"What {self._path} says of its own identity was changed: restore it from a backup.")

    def _check_format(self) -> None:
        application, version = self._db.pragma("application_id"), self._db.pragma("user_version")
        if application != APPLICATION_ID:
            raise LogDamaged(f"{self._path} is not a dualbus log: point DUALBUS_DATA to another folder.")
        if version != FORMAT:
            raise LogError(
                f"{self._path} has format {version} and this dualbus reads {FORMAT}: use the one that made it."
            )

    def head(self) -> Head:
        found = self._db.execute("SELECT position, hash FROM events ORDER BY position DESC LIMIT 1").get
        return Head(*found) if found else Head(0, NO_HASH)

    def hash_at(self, position: int) -> bytes | None:
        """Return the hash of the event at a position, NO_HASH at 0, None beyond the head."""
        if position == 0:
            return NO_HASH
        found: bytes | None = self._db.execute("SELECT hash FROM events WHERE position = ?", (position,)).get
        return found

    def commit_hash_at(self, number: int) -> bytes | None:
        """Return the hash of a commit, NO_HASH at 0, None beyond the last."""
        found: bytes | None = self._db.execute("SELECT hash FROM commits WHERE number = ?", (number,)).get
        return found if number else NO_HASH

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        rows = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608
            (after, limit),
        )
        return list(map(RecordedEvent._make, rows))

    def history(self, tag: str, after: int = 0) -> list[RecordedEvent]:
        rows = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM tags JOIN events USING (position) "  # noqa: S608
            "WHERE tag = ? AND position > ? ORDER BY position",
            (tag, after),
        )
        return list(map(RecordedEvent._make, rows))

    def types(self) -> set[str]:
        # A scan, about 0.1 s for a million events: an index would cost every append a third more.
        return {name for (name,) in self._db.execute("SELECT DISTINCT type FROM events")}

    def outcomes(self, command_ids: Iterable[str]) -> dict[str, Outcome]:
        ids = list(command_ids)
        # Keys that were made one after another lie side by side in the index, where the first look finds nothing.
        if len(ids) > FEW and not self._db.execute(ANY_OUTCOME, (min(ids), max(ids))).get:
            return {}
        rows: Iterable[Any] = (row for id_ in ids for row in self._db.execute(ONE_OUTCOME, (id_,)))
        if len(ids) > FEW:
            rows = self._db.execute(MANY_OUTCOMES, (json.dumps(ids),))
        return {
            id_: Outcome(id_, fingerprint, first, events, json.loads(errors))
            for id_, fingerprint, first, events, errors in rows
        }

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class SqliteLog(SqliteLogReader):
    """The log, opened by its only writer, and made (with its genesis events) if there is none.

    Raises Taken if another process writes it, LogDamaged if it is not whole, or not what its witnesses have seen.
    """

    def __init__(self, folder: Path, genesis: Callable[[bytes], Decision]) -> None:
        make_folder(folder)
        self._lock = lock_data(folder, "log", "commandbus writes the log")
        self._path = folder / FILE_NAME
        self._witness: HeadFile | None = None
        try:
            if not is_there(self._path):
                check_witnesses(folder, None)
                with usable(folder):
                    self._create(genesis)
            self._open(apsw.SQLITE_OPEN_READWRITE)
            with readable(self._path):
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a log that is refused stays as it is
                self._db.pragma("journal_mode", "wal")
                self._db.pragma("synchronous", "full")
                self._db.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                self._load_head()
                check_witnesses(folder, self)
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._make_durable()
            self._witness = HeadFile(folder, Acknowledged(self.identity, self._commit, self._head, self._commit_hash))
        except apsw.Error as error:
            self._lock.release()
            raise unusable(self._path, "made", error) from None
        except BaseException:
            self._lock.release()
            raise

    def _make_durable(self) -> None:
        """Sync what was found: a writer killed between a write and its fsync left it in memory only.

        From here on it is answered and published as done. Where an fsync had failed, only writing it again
        helps, which the checkpoint does; it needs space, and waits for no reader.
        """
        try:
            sync_file(self._path.with_name(self._path.name + "-wal"))
            sync_folder(self._path.parent)
            self._db.wal_checkpoint()
        except apsw.FullError:
            pass
        except (apsw.Error, OSError) as error:
            raise LogError(f"{self._path} cannot be made durable ({error}): look after the disk.") from None

    def _load_head(self) -> None:
        last = self._db.execute(
            "SELECT number, position, outcomes, hash FROM commits ORDER BY number DESC LIMIT 1"
        ).get
        number, position, outcomes, hash_ = last or (0, 0, 0, NO_HASH)
        self._commit: int = number
        self._outcomes: int = outcomes
        self._commit_hash: bytes = hash_
        self._head = super().head()
        if self._head.position != position:
            raise LogDamaged(
                f"{self._path} ends at position {self._head.position} and its last commit at {position}: "
                "restore it from a backup."
            )

    def _create(self, genesis: Callable[[bytes], Decision]) -> None:
        """Make the file under another name, so that nobody ever sees a log without its genesis."""
        orphan = self._path.with_name(self._path.name + "-wal")
        if orphan.exists():  # SQLite would write what it holds into the new file
            raise LogDamaged(
                f"{self._path} is gone, and {orphan.name}, a part of it, is there: restore the log, or move that "
                "away to begin from nothing."
            )
        making = self._path.with_suffix(".new")
        for leftover in making.parent.glob(making.name + "*"):
            leftover.unlink()
        identity = Identity(str(uuid_utils.uuid7()), str(uuid_utils.uuid7()))
        db = apsw.Connection(str(making))
        db.pragma("journal_mode", "delete")
        db.pragma("synchronous", "full")
        with db:
            db.execute(SCHEMA)
            secret = secrets.token_bytes(32)
            db.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", (*identity, secret, meta_hash(identity, secret)))
        db.close()
        final, self._path = self._path, making
        self._open(apsw.SQLITE_OPEN_READWRITE)
        self._load_head()
        self.append([genesis(self.secret)])
        self._db.close()
        self._path = final
        making.rename(final)
        sync_folder(final.parent)

    def append(self, decisions: Sequence[Decision]) -> Appended:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            standing = self._standing(decisions)
            events, tags, outcomes = self._rows(decisions[:standing])
            head = Head(events[-1].position, events[-1].hash) if events else self._head
            hash_ = commit_hash(self._commit_hash, head, outcomes)
            self._insert("events", 6, events)
            self._insert("tags", 2, tags)
            self._insert("outcomes", 6, outcomes)
            number = self._commit + 1
            last = self._outcomes + len(outcomes)
            self._db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number, head.position, last, hash_))
            self._db.execute("COMMIT")
        except (apsw.FullError, apsw.BusyError) as error:
            self._roll_back()
            raise LogUnavailable(f"The log cannot be written now ({error}): free some space.") from None
        except apsw.Error as error:
            raise CommitFailed(f"The log could not be written ({error}).") from None
        self._commit, self._outcomes, self._commit_hash, self._head = number, last, hash_, head
        if self._witness:
            self._witness.write(number, head, hash_)
        return Appended(standing, events)

    def _insert(self, table: str, columns: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, many with a statement: that takes two thirds of the time that one with each takes."""
        whole = len(rows) - len(rows) % ROWS_A_STATEMENT
        for first in range(0, whole, ROWS_A_STATEMENT):
            values = tuple(chain.from_iterable(rows[first : first + ROWS_A_STATEMENT]))
            self._db.execute(_insert_sql(table, columns, ROWS_A_STATEMENT), values)
        self._db.executemany(_insert_sql(table, columns, 1), rows[whole:])

    def head(self) -> Head:
        return self._head

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _standing(self, decisions: Sequence[Decision]) -> int:
        """Count the decisions up to the first that read a tag which an event has carried since."""
        if not any(decision.reads for decision in decisions):
            return len(decisions)
        position = self._head.position
        carried: dict[str, int] = {}
        for number, decision in enumerate(decisions):
            for tag, read_at in decision.reads.items():
                latest = carried.get(tag) or self._latest(tag)
                if latest > read_at:
                    return number
            for event in decision.events:
                position += 1
                for tag in event.tags:
                    carried[tag] = position
        return len(decisions)

    def _latest(self, tag: str) -> int:
        return self._db.execute("SELECT max(position) FROM tags WHERE tag = ?", (tag,)).get or 0

    def _rows(
        self, decisions: Sequence[Decision]
    ) -> tuple[list[RecordedEvent], list[tuple[str, int]], list[OutcomeRow]]:
        position, hash_ = self._head
        number = self._outcomes
        events: list[RecordedEvent] = []
        tags: list[tuple[str, int]] = []
        outcomes: list[OutcomeRow] = []
        for command_id, time, decided, errors, _, fingerprint in decisions:
            number += 1
            said = json.dumps(errors) if errors else "[]"
            outcomes.append((number, command_id, fingerprint, position + 1, len(decided), said))
            for type_, data, carried in decided:
                position += 1
                unique = carried if len(carried) < 2 else sorted(set(carried))
                row = (position, type_, data, time, command_id)
                hash_ = event_hash(hash_, row, unique)
                events.append(RecordedEvent(*row, hash_))
                tags += [(tag, position) for tag in unique]
        return events, tags, outcomes

    def when_idle(self) -> None:
        if self._witness:
            self._witness.sync_when_due()

    def close(self) -> None:
        super().close()
        if self._witness:
            self._witness.close()
        self._lock.release()
