"""Copy a log of format 1 into a new log of the current format; put the new log in the place of the old log.

Format 1 had hashes of 16 bytes, no origins of commands, and tags without types.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import apsw

from dualbus.log.chain import commit_hash, event_hash, meta_hash
from dualbus.log.contract import NO_HASH, Head, LogDamaged, LogError, OldFormatError
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, read_head, write_head
from dualbus.log.identity import Identity
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME, KEPT_HEAD_NAME, KEPT_NAME, SCHEMA, UPGRADE_FOLDER, insert_sql
from dualbus.runtime.files import is_there, sync_file, sync_folder

HASH_BYTES = 16  # of format 1
_OUTCOMES = "SELECT number, command_id, fingerprint, first, events, errors FROM old.outcomes ORDER BY number"
_EVENTS = (
    "SELECT position, type, data, time, command_id, hash, (SELECT json_group_array(tag) FROM temp.sorted_tags AS t "
    "WHERE t.position = events.position) FROM old.events AS events ORDER BY position"
)

Progress = Callable[[int, int], None]


class FormatOneLog(SqliteLogReader):
    """A log of format 1."""

    format = 1
    hash_bytes = HASH_BYTES


class UpgradedLog:
    """The copy of a log of format 1, in a folder of its own, with log.head."""

    def __init__(self, data: Path, folder: Path, progress: Progress) -> None:
        self.old = FormatOneLog(data)
        if acknowledged := read_head(data):
            acknowledged.check(self.old, data)
        log, incarnation = self.old.identity
        self.identity = Identity(log, str(uuid5(NAMESPACE_OID, incarnation)))  # the same after an interruption
        self._path = folder / FILE_NAME
        self._source = data / FILE_NAME
        self._end = self.old.head().position
        self._position, self._hash, self._old_hash = 0, NO_HASH, NO_HASH[:HASH_BYTES]
        try:
            self._copy(progress)
            sync_file(self._path)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise LogError(
                f"{self._source} could not be copied ({error}): check the free space on the disk, or restore the log "
                "from a backup if it is damaged."
            ) from None

    def _copy(self, progress: Progress) -> None:
        self._db = apsw.Connection(
            str(self._path),
            flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
        )
        self._db.pragma("journal_mode", "off")  # a copy that is not complete is deleted
        self._db.pragma("synchronous", "off")
        self._db.execute(SCHEMA)
        self._db.execute("ATTACH ? AS old", (f"{self._source.absolute().as_uri()}?mode=ro",))
        self._db.execute(
            "CREATE TEMP TABLE sorted_tags (position INTEGER, tag TEXT, PRIMARY KEY (position, tag)) WITHOUT ROWID"
        )
        with self._db:
            self._db.execute("INSERT INTO temp.sorted_tags SELECT position, tag FROM old.tags ORDER BY 1, 2")
            secret = self.old.secret
            meta = (*self.identity, secret, meta_hash(self.identity, secret))
            self._db.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", meta)
            acknowledged = self._copy_commits(progress)
            self._db.execute(
                "INSERT INTO main.tags SELECT tag, type, position FROM old.tags JOIN old.events USING (position) "
                "ORDER BY 1, 2, 3"
            )
        self._db.close()
        write_head(self._path.parent, acknowledged)

    def _copy_commits(self, progress: Progress) -> Acknowledged:
        """Copy commit by commit; check the hashes of format 1 and compute the new hashes."""
        events, outcomes = self._db.execute(_EVENTS), self._db.execute(_OUTCOMES)
        number = last = 0
        hash_, old_hash = NO_HASH, NO_HASH[:HASH_BYTES]
        rows = self._db.execute("SELECT number, position, outcomes, hash FROM old.commits ORDER BY number")
        for number, position, count, expected in rows:
            first = self._position + 1
            self._copy_events(islice(events, position - self._position))
            old = list(islice(outcomes, count - last))
            old_hash = commit_hash(old_hash, Head(position, self._old_hash), old)[:HASH_BYTES]
            if old_hash != expected or self._position != position:
                raise LogDamaged(
                    f"Commit {number}, from position {first} on, was changed: restore the log from a backup."
                )
            new: Any = [(*row, "", None, None, None, None, None) for row in old]
            hash_ = commit_hash(hash_, Head(position, self._hash), new)
            self._db.executemany(insert_sql("main.outcomes", 12, 1), new)
            self._db.execute(insert_sql("main.commits", 4, 1), (number, position, count, hash_))
            last = count
            progress(position, self._end)
        if self._position != self._end:
            raise LogDamaged(f"Position {self._position + 1} is in the log but in no commit: restore the log.")
        return Acknowledged(self.identity, number, Head(self._position, self._hash), hash_)

    def _copy_events(self, rows: Iterator[Any]) -> None:
        self._db.executemany(insert_sql("main.events", 6, 1), map(self._converted, rows))

    def _converted(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return an event with its new hash."""
        *fields, hash_, tags_json = row
        event, tags = tuple(fields), json.loads(tags_json)
        self._old_hash = event_hash(self._old_hash, event, tags)[:HASH_BYTES]
        if self._old_hash != hash_:
            raise LogDamaged(f"Position {event[0]} was changed: restore the log from a backup.")
        self._hash = event_hash(self._hash, event, tags)
        self._position = event[0]
        return (*event, self._hash)


def needs_upgrade(data: Path) -> bool:
    """Return whether the log has an earlier format. Raises LogError if the log is missing, or has a later format."""
    try:
        SqliteLogReader(data).close()
    except OldFormatError:
        return True
    return False


def put_in_place(data: Path) -> None:
    """Rename the old log, and move the verified copy in its place; after an interruption, continue.

    log.head is there at any time, and prevents commandbus from creating an empty log. Raises LogError, before the
    first change, if there is no copy, or if a kept file would be replaced.
    """
    folder = data / UPGRADE_FOLDER
    if not is_there(folder / FILE_NAME):
        raise LogError(f"There is no upgraded log at {folder / FILE_NAME}: run `dualbus upgrade` again.")
    names = ((FILE_NAME, KEPT_NAME), (f"{FILE_NAME}-wal", f"{KEPT_NAME}-wal"))
    old = [(data / name, data / kept) for name, kept in names if is_there(data / name)]
    for _, kept in old:
        if is_there(kept):
            raise LogError(f"{kept} exists, of an earlier upgrade: move it away, then retry.")
    for path, kept in old:
        path.rename(kept)
        sync_folder(data)
    (data / f"{FILE_NAME}-shm").unlink(missing_ok=True)
    if is_there(folder / HEAD_FILE_NAME):
        (data / KEPT_HEAD_NAME).unlink(missing_ok=True)
        if is_there(data / HEAD_FILE_NAME):
            (data / KEPT_HEAD_NAME).hardlink_to(data / HEAD_FILE_NAME)
        (folder / HEAD_FILE_NAME).rename(data / HEAD_FILE_NAME)
        sync_folder(data)
    (folder / FILE_NAME).rename(data / FILE_NAME)
    sync_folder(data)
