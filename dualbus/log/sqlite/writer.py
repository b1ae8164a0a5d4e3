"""The log in one SQLite file: a single writer, any number of readers, and a hash chain.

Hashes cover every table. The hash of an event covers the row, the tags and the previous hash. The hash of a commit
covers the outcomes with their origins, the head and the previous commit. The identity, which changes with a restore,
has a hash of its own.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import uuid_utils

from dualbus.log.chain import OutcomeRow, commit_hash, event_hash, meta_hash
from dualbus.log.contract import (
    NO_HASH,
    AppendCondition,
    Appended,
    CommitFailed,
    Decision,
    Head,
    LogDamaged,
    LogError,
    LogUnavailable,
    NewEvent,
    Origin,
    RecordedEvent,
)
from dualbus.log.head import Acknowledged, HeadFile
from dualbus.log.identity import Identity
from dualbus.log.sqlite import index
from dualbus.log.sqlite.reader import SqliteLogReader, check_not_interrupted
from dualbus.log.sqlite.schema import (
    CHECKPOINT_PAGES,
    FILE_NAME,
    ROWS_A_STATEMENT,
    SCHEMA,
    insert_sql,
)
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.runtime.files import is_there, lock_data, make_folder, sync_file, sync_folder, usable
from dualbus.runtime.sqlite_errors import readable, unusable


class SqliteLog(SqliteLogReader):
    """The log, opened by the only writer; created with the genesis events if the folder has no log.

    Raises AlreadyRunningError if another process writes the log, LogDamaged if the log is damaged or contradicts
    log.head or a read model.
    """

    def __init__(self, folder: Path, genesis: Callable[[bytes], Decision]) -> None:
        make_folder(folder)
        self._lock = lock_data(folder, "log", "commandbus writes the log")
        self._path = folder / FILE_NAME
        self._head_file: HeadFile | None = None
        try:
            if not is_there(self._path):
                check_not_interrupted(folder)
                check_log_is_complete(folder, None)
                with usable(folder):
                    self._create(genesis)
            self._open(apsw.SQLITE_OPEN_READWRITE)
            with readable(self._path):
                self._db.pragma("journal_mode", "wal")
                self._db.pragma("synchronous", "full")
                self._db.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                self._load_head()
                check_log_is_complete(folder, self)
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._make_durable()
            self._head_file = HeadFile(
                folder, Acknowledged(self.identity, self._commit, self._head, self._commit_hash)
            )
        except apsw.Error as error:
            self._lock.release()
            raise unusable(self._path, "created", error) from None
        except BaseException:
            self._lock.release()
            raise

    def _make_durable(self) -> None:
        """Sync the commits found: a writer killed between write and fsync left the last commits in memory only.

        These commits are acknowledged and published from now on. After a failed fsync, only a second write helps:
        the checkpoint does this. The checkpoint needs disk space and does not wait for readers.
        """
        try:
            sync_file(self._path.with_name(self._path.name + "-wal"))
            sync_folder(self._path.parent)
            self._db.wal_checkpoint()
        except apsw.FullError:
            pass
        except (apsw.Error, OSError) as error:
            raise LogError(f"{self._path} cannot be made durable ({error}): check the disk.") from None

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
                f"{self._path} ends at position {self._head.position}, but its last commit ends at {position}: "
                "restore the log from a backup."
            )

    def _create(self, genesis: Callable[[bytes], Decision]) -> None:
        """Create the file under a temporary name, so that no process opens a log without genesis."""
        orphan = self._path.with_name(self._path.name + "-wal")
        if orphan.exists():  # SQLite would apply this write-ahead log to the new file
            raise LogDamaged(
                f"{self._path} is missing, but {orphan.name}, a part of it, exists: restore the log, or move "
                f"{orphan.name} away to start with an empty log."
            )
        temporary = self._path.with_suffix(".new")
        for leftover in temporary.parent.glob(temporary.name + "*"):
            leftover.unlink()
        db = apsw.Connection(str(temporary))
        db.pragma("journal_mode", "delete")
        db.pragma("synchronous", "full")
        create_tables(db)
        db.close()
        final, self._path = self._path, temporary
        self._open(apsw.SQLITE_OPEN_READWRITE)
        self._load_head()
        self.append([genesis(self.secret)])
        self._db.close()
        self._path = final
        temporary.rename(final)
        sync_folder(final.parent)

    def append(self, decisions: Sequence[Decision]) -> Appended:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            accepted = self._first_conflict(decisions)
            events, tags, outcomes = self._rows(decisions[:accepted])
            head = Head(events[-1].position, events[-1].hash) if events else self._head
            hash_ = commit_hash(self._commit_hash, head, outcomes)
            self._insert("events", 6, events)
            self._insert("tags", 3, tags)
            self._insert("outcomes", 12, outcomes)
            number = self._commit + 1
            last = self._outcomes + len(outcomes)
            self._db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number, head.position, last, hash_))
            began = monotonic()
            self._db.execute("COMMIT")
            sync_seconds = monotonic() - began
        except (apsw.FullError, apsw.BusyError) as error:
            self._roll_back()
            raise LogUnavailable(f"The log cannot be written now ({error}): free some space.") from None
        except apsw.Error as error:
            raise CommitFailed(f"The log could not be written ({error}).") from None
        self._commit, self._outcomes, self._commit_hash, self._head = number, last, hash_, head
        if self._head_file:
            self._head_file.write(number, head, hash_)
        return Appended(accepted, events, sync_seconds)

    def _insert(self, table: str, columns: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows per statement: a third faster than a statement per row."""
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

    def _first_conflict(self, decisions: Sequence[Decision]) -> int:
        """Return the index of the first decision with a conflict, or the number of decisions."""
        if not any(decision.conditions for decision in decisions):
            return len(decisions)
        before = position = self._head.position
        added: dict[str, list[tuple[int, NewEvent]]] = {}  # by tag, the events of earlier decisions
        for number, (_, _, events, _, conditions, _, _) in enumerate(decisions):
            for condition in conditions:
                if not _holds(condition, added):
                    return number
                if condition.after < before and index.exists(self._db, *condition):
                    return number
            for event in events:
                position += 1
                for tag in event.tags:
                    added.setdefault(tag, []).append((position, event))
        return len(decisions)

    def _rows(
        self, decisions: Sequence[Decision]
    ) -> tuple[list[RecordedEvent], list[tuple[str, str, int]], list[OutcomeRow]]:
        position, hash_ = self._head
        number = self._outcomes
        events: list[RecordedEvent] = []
        tags: list[tuple[str, str, int]] = []
        outcomes: list[OutcomeRow] = []
        for command_id, time, decided, errors, _, fingerprint, origin in decisions:
            number += 1
            errors_json = json.dumps(errors) if errors else "[]"
            result = (number, command_id, fingerprint, position + 1, len(decided), errors_json)
            outcomes.append((*result, *_origin_columns(command_id, origin)))
            for type_, data, all_tags in decided:
                position += 1
                unique = all_tags if len(all_tags) < 2 else sorted(set(all_tags))
                row = (position, type_, data, time, command_id)
                hash_ = event_hash(hash_, row, unique)
                events.append(RecordedEvent(*row, hash_))
                tags += [(tag, type_, position) for tag in unique]
        return events, tags, outcomes

    def when_idle(self) -> None:
        if self._head_file:
            self._head_file.sync_when_due()

    def close(self) -> None:
        super().close()
        if self._head_file:
            self._head_file.close()
        self._lock.release()


def create_tables(db: apsw.Connection) -> None:
    """Create the tables of a new log with a random identity and secret."""
    identity = Identity(str(uuid_utils.uuid7()), str(uuid_utils.uuid7()))
    secret = secrets.token_bytes(32)
    with db:
        db.execute(SCHEMA)
        db.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", (*identity, secret, meta_hash(identity, secret)))


def _holds(condition: AppendCondition, added: dict[str, list[tuple[int, NewEvent]]]) -> bool:
    """Return whether the events of earlier decisions leave a condition met."""
    tags, types, after = condition
    candidates = min((added.get(tag, ()) for tag in tags), key=len)
    for position, event in reversed(candidates):
        if position <= after:
            break
        if (not types or event.type in types) and (len(tags) == 1 or set(tags) <= set(event.tags)):
            return False
    return True


def _origin_columns(
    command_id: str, origin: Origin
) -> tuple[str, str | None, int | None, str | None, str | None, str | None]:
    """Return the columns of an origin, shorter for the usual values: the own key, and no metadata."""
    type_, actor, cause, correlation, trace, metadata = origin
    first = None if correlation in ("", command_id) else correlation
    return type_, actor, cause, first, trace, json.dumps(dict(metadata)) if metadata else None
