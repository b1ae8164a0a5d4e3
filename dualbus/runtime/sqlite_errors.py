"""Classify errors of SQLite: damaged, full, or unusable at the moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from dualbus.log.contract import LogDamaged, LogError

_NO_ROOM = (apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_SHMOPEN, apsw.SQLITE_IOERR_WRITE)
_DAMAGE = (apsw.NotADBError, apsw.CorruptError, apsw.IOError, apsw.SQLError, TypeError, UnicodeDecodeError)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise LogDamaged if a log is unreadable, LogError if its file cannot be opened."""
    try:
        yield
    except (*_DAMAGE, apsw.Error) as error:
        if isinstance(error, _DAMAGE) and not is_full(error):
            raise LogDamaged(f"{path} is not a readable log ({error}): restore it from a backup.") from None
        raise unusable(path, "opened", error) from None


def is_full(error: Exception) -> bool:
    """Return whether the disk is full, for the database or for the WAL and shared memory files of SQLite."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", None) in _NO_ROOM


def is_damaged(error: Exception) -> bool:
    """Return whether the file is damaged. A projection's statement may damage a table of full-text search itself."""
    if isinstance(error, apsw.CorruptError):
        return getattr(error, "extendedresult", None) != apsw.SQLITE_CORRUPT_VTAB
    return isinstance(error, apsw.NotADBError)


def unusable(path: Path, done: str, error: Exception) -> LogError:
    """Return the LogError for a file that cannot be opened or created."""
    return LogError(f"{path} cannot be {done} ({error}): check its type, its owner and the free space.")
