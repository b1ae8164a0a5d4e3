"""The file log.head: the last acknowledged commit, kept outside the files of the log that it witnesses.

A log that was replaced, and a log whose write-ahead log was lost, are valid files to SQLite. commandbus records each
commit here when it is durable in the log and before its answer leaves, so that the next start compares the two.
A record is written without a sync: it survives the end of the process at once, and a power cut from the next `sync`
on. A record that is older than the log's last commit is still true; the log syncs first, so a newer one shows a loss.

The file has two slots, each in a block of its own. The record that was synced last is never written over: whatever
a power cut does to the other slot, one of the two can be read.
"""

import os
import struct
import time
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from dualbus.log.contract import CommitFailed, Head, LogDamaged, LogError
from dualbus.log.identity import Identity
from dualbus.runtime.files import is_there, sync_folder

FILE_NAME = "log.head"
BLOCK = 4096
SYNC_SECONDS, SYNC_SHARE = 1.0, 0.01  # from one sync to the next; at most so much of the time goes into them
_FORM = b"dBhead1\n"
_IDENTITY = struct.Struct("<8s36s36s")  # form, log, incarnation
_COMMIT = struct.Struct("<QQ16s16s")  # number, position, hash of the event, hash of the commit
_SUM_BYTES = 16
_RECORD_BYTES = _IDENTITY.size + _COMMIT.size + _SUM_BYTES
_RESTORE = "move log.db* away, all of it together, and use `dualbus restore`."


class Witnessed(Protocol):
    """A log that can be compared with a record."""

    identity: Identity

    def head(self) -> Head: ...

    def hash_at(self, position: int) -> bytes | None: ...

    def commit_hash_at(self, number: int) -> bytes | None: ...


class Acknowledged(NamedTuple):
    """A commit of a log, and the position that it reached."""

    identity: Identity
    commit: int
    head: Head
    commit_hash: bytes

    def check(self, log: Witnessed, folder: Path) -> None:
        """Raise LogDamaged if the log in the folder is another one, or does not have this commit as it was."""
        position = self.head.position
        if log.identity.log != self.identity.log:
            raise LogDamaged(
                f"The log in {folder} is {log.identity.log}, and {FILE_NAME} beside it belongs to "
                f"{self.identity.log}, of which position {position} was acknowledged: put that log back, or point "
                "DUALBUS_DATA to the right folder."
            )
        if log.identity != self.identity:
            raise LogDamaged(
                f"The log in {folder} is not the restored one that {FILE_NAME} belongs to, of which position "
                f"{position} was acknowledged: put that log back. To use this one instead, {_RESTORE}"
            )
        hash_, commit_hash = log.hash_at(position), log.commit_hash_at(self.commit)
        if hash_ is None or commit_hash is None:
            end = log.head().position
            what = f"events from position {end + 1} on" if end < position else "refusals"
            raise LogDamaged(
                f"The log has lost acknowledged {what}: in {folder} it ends at position {end}, and position "
                f"{position} was acknowledged, with commit {self.commit}. Put log.db-wal back if it was moved away. "
                f"Restore it from a backup otherwise: {_RESTORE}"
            )
        if (hash_, commit_hash) != (self.head.hash, self.commit_hash):
            raise LogDamaged(
                f"The log is not the one that was acknowledged: in {folder} it differs from that at position "
                f"{position} or before. Restore it from a backup: {_RESTORE}"
            )


def read_head(folder: Path) -> Acknowledged | None:
    """Return what was recorded last; None if there is no file. Raises LogDamaged if no record is whole."""
    found = _newest(folder / FILE_NAME)
    return found[1] if found else None


def check_head(folder: Path, log: Witnessed | None) -> None:
    """Raise LogDamaged if a log, or the absence of one, is not what was recorded in the folder."""
    acknowledged = read_head(folder)  # before the log is read, which only grows
    if acknowledged and log is None:
        raise LogDamaged(
            f"The log has lost acknowledged events: there is no log in {folder}, and {FILE_NAME} there belongs to "
            f"{acknowledged.identity.log}, of which position {acknowledged.head.position} was acknowledged. Put the "
            "log back or use `dualbus restore`; to begin from nothing, move the whole folder away."
        )
    if acknowledged and log:
        acknowledged.check(log, folder)


def write_head(folder: Path, acknowledged: Acknowledged) -> None:
    """Make the file, or make it anew, durably and in one step."""
    making = folder / f"{FILE_NAME}.new"
    content = _packed(_start(acknowledged.identity), *acknowledged[1:]).ljust(2 * BLOCK, b"\0")
    try:
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        making.rename(folder / FILE_NAME)
        sync_folder(folder)
    except OSError as error:
        raise LogError(f"{folder / FILE_NAME} cannot be made ({error}): check the room on the disk.") from None


class HeadFile:
    """The file, opened by the only writer of the log, which has checked the log against it."""

    def __init__(self, folder: Path, acknowledged: Acknowledged) -> None:
        path = folder / FILE_NAME
        newest = _newest(path)
        if not newest:
            write_head(folder, acknowledged)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise LogError(f"{path} cannot be written ({error}): check its owner and mode.") from None
        self._slot = newest[0] if newest else 0
        self._start = _start(acknowledged.identity)
        self._synced = False  # an earlier process may have left the newest record without a sync
        self._next_sync = 0.0
        self.sync()
        self.write(*acknowledged[1:])
        self.sync()

    def write(self, commit: int, head: Head, commit_hash: bytes) -> None:
        """Record a commit that is durable in the log. Raises CommitFailed: it must not be answered without this."""
        try:
            os.pwrite(self._file, _packed(self._start, commit, head, commit_hash), self._slot * BLOCK)
        except OSError as error:
            raise CommitFailed(f"The log was written, and {FILE_NAME} could not be written ({error}).") from None
        self._synced = False

    def sync(self) -> None:
        """Make the last record durable, and keep its slot from the next one."""
        if self._synced:
            return
        began = time.monotonic()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise LogError(f"{FILE_NAME} cannot be made durable ({error}): check the disk.") from None
        ended = time.monotonic()
        self._synced = True
        self._slot = 1 - self._slot
        self._next_sync = ended + max(SYNC_SECONDS, (ended - began) / SYNC_SHARE)

    def sync_when_due(self) -> None:
        """Sync, if the last sync was long enough ago."""
        if not self._synced and time.monotonic() >= self._next_sync:
            self.sync()

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        os.close(self._file)


def _start(identity: Identity) -> bytes:
    return _IDENTITY.pack(_FORM, identity.log.encode(), identity.incarnation.encode())


def _packed(start: bytes, commit: int, head: Head, commit_hash: bytes) -> bytes:
    record = start + _COMMIT.pack(commit, *head, commit_hash)
    return record + sha256(record).digest()[:_SUM_BYTES]


def _newest(path: Path) -> tuple[int, Acknowledged] | None:
    """Return the newest record that is whole, and its slot."""
    if not is_there(path):
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error}): check the file, its owner and the disk.") from None
    found = [
        (slot, record)
        for slot in (0, 1)
        if (record := _unpacked(content[slot * BLOCK : slot * BLOCK + _RECORD_BYTES]))
    ]
    if not found:
        raise LogDamaged(
            f"{path} is damaged, or a later dualbus wrote it: none of its records is whole. Move it away if it is "
            "damaged: commandbus then checks the log against the read models alone, and makes the file anew."
        )
    return max(found, key=lambda one: one[1].commit)


def _unpacked(data: bytes) -> Acknowledged | None:
    record, sum_ = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if not record.startswith(_FORM) or sha256(record).digest()[:_SUM_BYTES] != sum_:
        return None
    _, log, incarnation = _IDENTITY.unpack_from(record)
    commit, position, hash_, commit_hash = _COMMIT.unpack_from(record, _IDENTITY.size)
    return Acknowledged(Identity(_text(log), _text(incarnation)), commit, Head(position, hash_), commit_hash)


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()
