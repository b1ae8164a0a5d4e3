"""The reader of the SQLite log."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import apsw

from dualbus.log.chain import OutcomeRow, meta_hash
from dualbus.log.contract import (
    NO_HASH,
    Head,
    LogDamaged,
    LogError,
    OldFormatError,
    Origin,
    Outcome,
    RecordedEvent,
)
from dualbus.log.identity import Identity
from dualbus.log.sqlite import index
from dualbus.log.sqlite.schema import (
    ANY_OUTCOME,
    APPLICATION_ID,
    EVENT_COLUMNS,
    FILE_NAME,
    FORMAT,
    KEPT_NAME,
    OUTCOME_COLUMNS,
    UPGRADE_FOLDER,
)
from dualbus.runtime.files import is_there
from dualbus.runtime.sqlite_errors import readable


class SqliteLogReader:
    """The log, opened read-only. Raises LogError if the folder has no log."""

    format = FORMAT
    hash_bytes = len(NO_HASH)

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        if not is_there(self._path):
            check_not_interrupted(folder)
            raise LogError(f"There is no log at {self._path}: start commandbus, which creates it.")
        self._open(apsw.SQLITE_OPEN_READONLY)

    def _open(self, flags: int) -> None:
        with readable(self._path):
            self._db = apsw.Connection(str(self._path), flags=flags, statementcachesize=64)
            self._db.set_busy_timeout(5000)
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a rejected log must stay unchanged
            self._check_format()
            rows: list[Any] = self._db.execute("SELECT id, incarnation, secret, hash FROM meta").fetchall()
            if len(rows) != 1:
                raise LogDamaged(f"{self._path} has {len(rows)} identities: restore the log from a backup.")
            [(id_, incarnation, self.secret, hash_)] = rows
        self.identity = Identity(id_, incarnation)
        if meta_hash(self.identity, self.secret)[: self.hash_bytes] != hash_:
            raise LogDamaged(f"The identity stored in {self._path} was changed: restore the log from a backup.")

    def _check_format(self) -> None:
        application, version = self._db.pragma("application_id"), self._db.pragma("user_version")
        if application != APPLICATION_ID:
            raise LogDamaged(f"{self._path} is not a dualbus log: point DUALBUS_DATA to another folder.")
        if version < self.format:
            raise OldFormatError(
                f"{self._path} has format {version}, and this dualbus reads format {self.format}: stop the cluster "
                "and run `dualbus upgrade`, which makes a copy in the new format."
            )
        if version != self.format:
            raise LogError(
                f"{self._path} has format {version}, and this dualbus reads format {self.format}: "
                "use the version that created the log."
            )

    def head(self) -> Head:
        found = self._db.execute("SELECT position, hash FROM events ORDER BY position DESC LIMIT 1").get
        return Head(*found) if found else Head(0, NO_HASH[: self.hash_bytes])

    def hash_at(self, position: int) -> bytes | None:
        """Return the hash of the event at a position, NO_HASH at 0, None beyond the head."""
        if position == 0:
            return NO_HASH[: self.hash_bytes]
        found: bytes | None = self._db.execute("SELECT hash FROM events WHERE position = ?", (position,)).get
        return found

    def commit_hash_at(self, number: int) -> bytes | None:
        """Return the hash of a commit, NO_HASH at 0, None beyond the last."""
        found: bytes | None = self._db.execute("SELECT hash FROM commits WHERE number = ?", (number,)).get
        return found if number else NO_HASH[: self.hash_bytes]

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        rows = self._db.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608
            (after, limit),
        )
        return list(map(RecordedEvent._make, rows))

    def history(
        self, tags: Sequence[str], types: Collection[str] = (), after: int = 0, limit: int = -1
    ) -> list[RecordedEvent]:
        return list(map(RecordedEvent._make, index.history(self._db, tags, types, after, limit)))

    def types(self) -> dict[str, list[RecordedEvent]]:
        # Scans the log once, about 0.1 s for a million events: an index would slow every append down by a third.
        first = {event.type: event for event in self._each_type("> ?", "ASC", 0)}
        last: dict[str, RecordedEvent] = {}
        for event in self._each_type("< ?", "DESC", 2**63 - 1):
            last[event.type] = event
            if first.keys() <= last.keys():  # usually soon
                break
        return {name: [event, last[name]] for name, event in first.items()}

    def _each_type(self, side: str, order: str, start: int) -> Iterator[RecordedEvent]:
        """Yield an event of each type: the first in an order of the positions."""
        sql = (
            f"SELECT {EVENT_COLUMNS} FROM events WHERE position {side} "  # noqa: S608
            f"AND type NOT IN (SELECT value FROM json_each(?)) ORDER BY position {order} LIMIT 1"
        )
        seen: list[str] = []
        while row := self._db.execute(sql, (start, json.dumps(seen))).get:
            event = RecordedEvent._make(cast("Any", row))
            yield event
            seen.append(event.type)
            start = event.position

    def outcomes(self, command_ids: Iterable[str]) -> dict[str, Outcome]:
        ids = list(command_ids)
        # Keys created in sequence are adjacent in the index: this range query usually finds no row.
        if not ids or not self._db.execute(ANY_OUTCOME, (min(ids), max(ids))).get:
            return {}
        found = self._outcomes_where("command_id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
        return {outcome.command_id: outcome for outcome in found}

    def commands(self, after: int, limit: int) -> list[Outcome]:
        return self._outcomes_where("number > ? ORDER BY number LIMIT ?", (after, limit))

    def caused_by(self, position: int) -> list[Outcome]:
        return self._outcomes_where("cause = ? ORDER BY number", (position,))

    def _outcomes_where(self, condition: str, values: tuple[object, ...]) -> list[Outcome]:
        rows = self._db.execute(f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE {condition}", values)  # noqa: S608
        return list(map(_outcome, rows))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def is_interrupted(data: Path) -> bool:
    """Return whether an upgrade has moved the old log, and not yet the new log, which waits in its folder.

    The old log alone does not show this: it is kept after the upgrade, when log.db may be missing for other reasons.
    """
    moved = is_there(data / KEPT_NAME) and not is_there(data / FILE_NAME)
    return moved and is_there(data / UPGRADE_FOLDER / FILE_NAME)


def check_not_interrupted(folder: Path) -> None:
    """Raise LogError if an upgrade has moved the old log, and not yet the new log."""
    if is_interrupted(folder):
        raise LogError(
            f"The upgrade of the log in {folder} was interrupted: run `dualbus upgrade`, which finishes it."
        )


def _outcome(row: OutcomeRow) -> Outcome:
    _, id_, fingerprint, first, events, errors, type_, actor, cause, correlation, trace, metadata = row
    given = json.loads(metadata) if metadata else {}
    origin = Origin(type_, actor, cause, correlation or id_, trace, given)
    return Outcome(id_, fingerprint, first, events, [] if errors == "[]" else json.loads(errors), origin)
