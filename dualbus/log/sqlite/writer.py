"""The log in one SQLite file: a single writer, any number of readers, and a hash chain.

Hashes cover every table. The hash of an event covers the row, the tags and the previous hash. The hash of a commit
covers the outcomes with their origins, the head and the previous commit. The identity, which changes with a restore,
has a hash of its own.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import uuid_utils

from dualbus.log.body import End, NewCommit
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
    SHARED_NAME,
    insert_sql,
)
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.runtime.files import is_there, lock_data, make_folder, sync_folder, usable, write_again
from dualbus.runtime.sqlite_errors import readable, unusable


class SqliteLog(SqliteLogReader):
    """The log, opened by the only writer; created with the genesis events if the folder has no log.

    Raises AlreadyRunningError if another process writes the log, LogDamaged if the log is damaged or contradicts
    log.head or a read model.
    """

    def __init__(self, folder: Path, genesis: Callable[[bytes], Decision]) -> None:
        self._genesis = genesis
        self._start(folder)

    def _start(self, folder: Path) -> None:
        make_folder(folder)
        self._lock = lock_data(folder, "log", "commandbus writes the log")
        self._path = folder / FILE_NAME
        self._head_file: HeadFile | None = None
        try:
            self._check_role(folder)
            if not is_there(self._path):
                check_not_interrupted(folder)
                self._create_missing(folder)
            self._open(apsw.SQLITE_OPEN_READWRITE)
            with readable(self._path):
                self._db.pragma("journal_mode", "wal")
                self._db.pragma("synchronous", "full")
                self._db.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                self._load_head()
                self._check(folder)
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._make_durable()
            self._head_file = HeadFile(
                folder, Acknowledged(self.identity, self._end.number, self._end.head, self._end.hash)
            )
        except apsw.Error as error:
            self._lock.release()
            raise unusable(self._path, "created", error) from None
        except BaseException:
            self._lock.release()
            raise

    def _check_role(self, folder: Path) -> None:
        """Refuse to write a replica as the log of one machine: the other machines would write another log."""
        marker = folder / SHARED_NAME
        if is_there(marker):
            name = marker.read_text().strip()
            raise LogError(
                f"The log in {folder} is a replica of {name}: set DUALBUS_LOG to its address. To write the log on "
                "this machine alone, run `dualbus move sqlite:`."
            )

    def _create_missing(self, folder: Path) -> None:
        """Create the log in a folder without a log. Raises LogDamaged if the folder had a log."""
        check_log_is_complete(folder, None)
        with usable(folder), self._new_file(new_identity(), new_secret()):
            self.append([self._genesis(self.secret)])

    def _check(self, folder: Path) -> None:
        """Check the opened log, before any write. Raises LogDamaged."""
        check_log_is_complete(folder, self)

    def _make_durable(self) -> None:
        """Make the commits found durable: a killed writer, or a failed fsync, left the last commits in memory only.

        These commits are acknowledged and published from now on. After a failed fsync, the system takes the pages for
        written, so only a second write helps. A checkpoint is none: it stops at the snapshot of a reader. The lock
        of the writer is held and no transaction is open, so no process writes the -wal meanwhile.
        """
        try:
            write_again(self._path.with_name(self._path.name + "-wal"))
            sync_folder(self._path.parent)
        except OSError as error:
            raise LogError(
                f"{self._path} cannot be made durable ({error}): check the disk and its free space."
            ) from None

    def _load_head(self) -> None:
        last = self._db.execute(
            "SELECT number, position, outcomes, hash FROM commits ORDER BY number DESC LIMIT 1"
        ).get
        number, position, outcomes, hash_ = last or (0, 0, 0, NO_HASH)
        self._end = End(number, outcomes, hash_, super().head())
        if self._end.head.position != position:
            raise LogDamaged(
                f"{self._path} ends at position {self._end.head.position}, but its last commit ends at {position}: "
                "restore the log from a backup."
            )

    @contextmanager
    def _new_file(self, identity: Identity, secret: bytes) -> Iterator[None]:
        """Create the file under a temporary name, so that no process opens a log without the commits written here."""
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
        create_tables(db, identity, secret)
        db.close()
        final, self._path = self._path, temporary
        self._open(apsw.SQLITE_OPEN_READWRITE)
        self._load_head()
        yield
        self._db.close()
        self._path = final
        temporary.rename(final)
        sync_folder(final.parent)

    def append(self, decisions: Sequence[Decision]) -> Appended:
        accepted = self._first_conflict(decisions)
        commit = new_commit(self._end, decisions[:accepted])
        self._prepare([commit])
        return Appended(accepted, commit.events, self._finish(commit.end))

    def _prepare(self, commits: Sequence[NewCommit]) -> None:
        """Write commits in a transaction that stays open. Raises LogUnavailable or CommitFailed."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for commit in commits:
                self._write(commit)
        except apsw.Error as error:
            raise self._failure(error) from None

    def _finish(self, end: End) -> float:
        """Make the open transaction durable; return the seconds. Raises LogUnavailable or CommitFailed."""
        began = monotonic()
        try:
            self._db.execute("COMMIT")
        except apsw.Error as error:
            raise self._failure(error) from None
        seconds = monotonic() - began
        self._advance(end)
        return seconds

    def _failure(self, error: apsw.Error) -> LogError:
        """Return the error of a transaction that failed: definite if SQLite has rolled back."""
        if isinstance(error, apsw.FullError | apsw.BusyError):
            self._roll_back()
            locked = isinstance(error, apsw.BusyError)
            advice = "end the process that locks the database" if locked else "free some space"
            return LogUnavailable(f"The log cannot be written now ({error}): {advice}.")
        return CommitFailed(f"The log could not be written ({error}).")

    def _write(self, commit: NewCommit) -> None:
        """Write the rows of a commit in the current transaction."""
        self._insert("events", 6, commit.events)
        self._insert("tags", 3, commit.tags)
        self._insert("outcomes", 12, commit.outcomes)
        number, last, hash_, head = commit.end
        self._db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number, head.position, last, hash_))

    def _advance(self, end: End) -> None:
        """Record the end of the log after a durable commit."""
        self._end = end
        if self._head_file:
            self._head_file.write(end.number, end.head, end.hash)

    def _insert(self, table: str, columns: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows per statement: a third faster than a statement per row."""
        whole = len(rows) - len(rows) % ROWS_A_STATEMENT
        for first in range(0, whole, ROWS_A_STATEMENT):
            values = tuple(chain.from_iterable(rows[first : first + ROWS_A_STATEMENT]))
            self._db.execute(insert_sql(table, columns, ROWS_A_STATEMENT), values)
        self._db.executemany(insert_sql(table, columns, 1), rows[whole:])

    def head(self) -> Head:
        return self._end.head

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _first_conflict(self, decisions: Sequence[Decision]) -> int:
        """Return the index of the first decision with a conflict, or the number of decisions."""
        if not any(decision.conditions for decision in decisions):
            return len(decisions)
        before = position = self._end.head.position
        added: dict[str, list[tuple[int, NewEvent]]] = {}  # by tag, the events of earlier decisions
        for number, (_, _, events, _, conditions, _, _) in enumerate(decisions):
            for condition in conditions:
                if not _holds(condition, added):
                    return number
                if condition.after < before and self._exists(condition):
                    return number
            for event in events:
                position += 1
                for tag in event.tags:
                    added.setdefault(tag, []).append((position, event))
        return len(decisions)

    def _exists(self, condition: AppendCondition) -> bool:
        try:
            return index.exists(self._db, *condition)
        except apsw.Error as error:
            raise self._failure(error) from None

    def when_idle(self) -> None:
        if self._head_file:
            self._head_file.sync_when_due()

    def close(self) -> None:
        super().close()
        if self._head_file:
            self._head_file.close()
        self._lock.release()


def new_commit(end: End, decisions: Sequence[Decision]) -> NewCommit:
    """Return the rows of a commit with these decisions, after the end of a log."""
    number, last, before, (position, hash_) = end
    events: list[RecordedEvent] = []
    tags: list[tuple[str, str, int]] = []
    outcomes: list[OutcomeRow] = []
    for command_id, time, decided, errors, _, fingerprint, origin in decisions:
        last += 1
        errors_json = json.dumps(errors) if errors else "[]"
        result = (last, command_id, fingerprint, position + 1, len(decided), errors_json)
        outcomes.append((*result, *_origin_columns(command_id, origin)))
        for type_, data, all_tags in decided:
            position += 1
            unique = all_tags if len(all_tags) < 2 else sorted(set(all_tags))
            row = (position, type_, data, time, command_id)
            hash_ = event_hash(hash_, row, unique)
            events.append(RecordedEvent(*row, hash_))
            tags += [(tag, type_, position) for tag in unique]
    head = Head(position, hash_)
    return NewCommit(events, tags, outcomes, End(number + 1, last, commit_hash(before, head, outcomes), head))


def new_identity() -> Identity:
    """Return the identity of a new log."""
    return Identity(str(uuid_utils.uuid7()), str(uuid_utils.uuid7()))


def new_secret() -> bytes:
    """Return the secret of a new log."""
    return secrets.token_bytes(32)


def create_tables(db: apsw.Connection, identity: Identity, secret: bytes) -> None:
    """Create the tables of a new log."""
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
