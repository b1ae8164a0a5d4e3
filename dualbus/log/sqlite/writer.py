"""The log in one SQLite file: one writer, any number of readers, a hash chain through it all.

Every table is covered by a hash: an event's takes in its row, its tags and the hash before it; a commit's
takes in the outcomes it wrote, the head it reached and the commit before it; that of the log's identity, which
changes when it is restored, stands beside it.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import uuid_utils

from dualbus.log.chain import OutcomeRow, commit_hash, event_hash, meta_hash
from dualbus.log.contract import (
    NO_HASH,
    Appended,
    CommitFailed,
    Decision,
    Head,
    LogDamaged,
    LogError,
    LogUnavailable,
    RecordedEvent,
)
from dualbus.log.head import Acknowledged, HeadFile
from dualbus.log.identity import Identity
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import (
    CHECKPOINT_PAGES,
    FILE_NAME,
    ROWS_A_STATEMENT,
    SCHEMA,
    insert_sql,
)
from dualbus.readmodel.witness import check_witnesses
from dualbus.runtime.files import is_there, lock_data, make_folder, sync_file, sync_folder, usable
from dualbus.runtime.sqlite_errors import readable, unusable


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
            self._db.execute(insert_sql(table, columns, ROWS_A_STATEMENT), values)
        self._db.executemany(insert_sql(table, columns, 1), rows[whole:])

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
