"""The file log.head: a record of the last acknowledged commit, outside the files of the log.

A replaced log, or a log without its write-ahead log, is a valid file to SQLite. commandbus therefore records each
commit in log.head after the commit is durable and before the replies leave; the next start compares both files.
A record is written without a sync: the record survives the end of the process immediately, and a power cut after
the next `sync`. A record older than the last commit is still valid. The log syncs first, so a record newer than the
last commit proves a loss.

The file has two slots in separate blocks. A write never touches the slot that was synced last, so a power cut
leaves at least one readable record.
"""

import os
import struct
import time
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dualbus.log.contract import CommitFailed, Head, LogDamaged, LogError, ReadableLog
from dualbus.log.identity import Identity
from dualbus.runtime.files import is_there, sync_folder

FILE_NAME = "log.head"
BLOCK = 4096
SYNC_SECONDS, SYNC_SHARE = 1.0, 0.01  # interval between syncs; maximum share of time spent in syncs
_FORM = b"dBhead2\n"
_IDENTITY = struct.Struct("<8s36s36s")  # form, log, incarnation
_COMMIT = struct.Struct("<QQ32s32s")  # number, position, hash of the event, hash of the commit
_COMMITS = {_FORM: _COMMIT, b"dBhead1\n": struct.Struct("<QQ16s16s")}  # of a log of format 1, for `dualbus upgrade`
_CHECKSUM_BYTES = 16
_RESTORE = "move log.db* away, all of it together, and use `dualbus restore`."


class Acknowledged(NamedTuple):
    """A commit of a log and its head."""

    identity: Identity
    commit: int
    head: Head
    commit_hash: bytes

    def check(self, log: ReadableLog, folder: Path) -> None:
        """Raise LogDamaged if the log in the folder is a different log, or lacks this commit."""
        position = self.head.position
        if log.identity.log != self.identity.log:
            raise LogDamaged(
                f"The log in {folder} is {log.identity.log}, and {FILE_NAME} beside it belongs to "
                f"{self.identity.log}, of which position {position} was acknowledged: put that log back, or point "
                "DUALBUS_DATA to the right folder."
            )
        if log.identity != self.identity:
            raise LogDamaged(
                f"The log in {folder} is not the restored log that {FILE_NAME} belongs to, of which position "
                f"{position} was acknowledged: put that log back. To use this log instead, {_RESTORE}"
            )
        hash_, commit_hash = log.hash_at(position), log.commit_hash_at(self.commit)
        if hash_ is None or commit_hash is None:
            end = log.head().position
            lost = f"events from position {end + 1} on" if end < position else "refusals"
            raise LogDamaged(
                f"The log has lost acknowledged {lost}: in {folder} it ends at position {end}, and position "
                f"{position} was acknowledged, with commit {self.commit}. Put log.db-wal back if it was moved away. "
                f"Restore it from a backup otherwise: {_RESTORE}"
            )
        if (hash_, commit_hash) != (self.head.hash, self.commit_hash):
            raise LogDamaged(
                f"The log is not the one that was acknowledged: in {folder} it differs from that at position "
                f"{position} or before. Restore it from a backup: {_RESTORE}"
            )


def read_head(folder: Path) -> Acknowledged | None:
    """Return the last record, or None without a file. Raises LogDamaged if no record is valid."""
    found = _newest(folder / FILE_NAME)
    return found[1] if found else None


def check_head(folder: Path, log: ReadableLog | None) -> None:
    """Raise LogDamaged if log.head in the folder contradicts the log, or the absence of a log (None)."""
    acknowledged = read_head(folder)  # before the log is read: the log only grows
    if acknowledged and log is None:
        raise LogDamaged(
            f"The log has lost acknowledged events: there is no log in {folder}, and {FILE_NAME} there belongs to "
            f"{acknowledged.identity.log}, of which position {acknowledged.head.position} was acknowledged. Put the "
            "log back or use `dualbus restore`; to start with an empty log, move all but the folder `keys` away."
        )
    if acknowledged and log:
        acknowledged.check(log, folder)


def write_head(folder: Path, acknowledged: Acknowledged) -> None:
    """Create or replace the file, durably and atomically."""
    temporary = folder / f"{FILE_NAME}.new"
    content = _pack(_prefix(acknowledged.identity), *acknowledged[1:]).ljust(2 * BLOCK, b"\0")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(folder / FILE_NAME)
        sync_folder(folder)
    except OSError as error:
        raise LogError(
            f"{folder / FILE_NAME} cannot be created ({error}): check the free space on the disk."
        ) from None


class HeadFile:
    """The file, opened by the only writer of the log after the check."""

    def __init__(self, folder: Path, acknowledged: Acknowledged) -> None:
        path = folder / FILE_NAME
        newest = _newest(path)
        if not newest:
            write_head(folder, acknowledged)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise LogError(f"{path} cannot be written ({error}): check its owner and mode.") from None
        self._slot = newest[0] if newest else 0
        self._prefix = _prefix(acknowledged.identity)
        self._synced = False  # the newest record may be unsynced, written by an earlier process
        self._next_sync = 0.0
        self.sync()
        self.write(*acknowledged[1:])
        self.sync()

    def write(self, commit: int, head: Head, commit_hash: bytes) -> None:
        """Record a durable commit. Raises CommitFailed: the commands must not be acknowledged without a record."""
        try:
            os.pwrite(self._file, _pack(self._prefix, commit, head, commit_hash), self._slot * BLOCK)
        except OSError as error:
            raise CommitFailed(f"The log was written, and {FILE_NAME} could not be written ({error}).") from None
        self._synced = False

    def sync(self) -> None:
        """Make the last record durable; the next write uses the other slot."""
        if self._synced:
            return
        started = time.monotonic()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise LogError(f"{FILE_NAME} cannot be made durable ({error}): check the disk.") from None
        ended = time.monotonic()
        self._synced = True
        self._slot = 1 - self._slot
        self._next_sync = ended + max(SYNC_SECONDS, (ended - started) / SYNC_SHARE)

    def sync_when_due(self) -> None:
        """Sync if the interval since the last sync has elapsed."""
        if not self._synced and time.monotonic() >= self._next_sync:
            self.sync()

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        os.close(self._file)


def _prefix(identity: Identity) -> bytes:
    return _IDENTITY.pack(_FORM, identity.log.encode(), identity.incarnation.encode())


def _pack(prefix: bytes, commit: int, head: Head, commit_hash: bytes) -> bytes:
    record = prefix + _COMMIT.pack(commit, *head, commit_hash)
    return record + sha256(record).digest()[:_CHECKSUM_BYTES]


def _newest(path: Path) -> tuple[int, Acknowledged] | None:
    """Return the newest valid record and its slot."""
    if not is_there(path):
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error}): check the file, its owner and the disk.") from None
    found = [(slot, record) for slot in (0, 1) if (record := _unpack(content[slot * BLOCK : (slot + 1) * BLOCK]))]
    if not found:
        raise LogDamaged(
            f"{path} is damaged, or was written by a later dualbus: it has no valid record. Move it away if it is "
            "damaged: commandbus then checks the log against the read models only and creates the file again."
        )
    return max(found, key=lambda record: record[1].commit)


def _unpack(block: bytes) -> Acknowledged | None:
    commit = _COMMITS.get(block[: len(_FORM)])
    if commit is None:
        return None
    size = _IDENTITY.size + commit.size
    record, checksum = block[:size], block[size : size + _CHECKSUM_BYTES]
    if sha256(record).digest()[:_CHECKSUM_BYTES] != checksum:
        return None
    _, log, incarnation = _IDENTITY.unpack_from(record)
    number, position, hash_, commit_hash = commit.unpack_from(record, _IDENTITY.size)
    return Acknowledged(Identity(_text(log), _text(incarnation)), number, Head(position, hash_), commit_hash)


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()
