"""Translates errors of SQLite: a damaged log, or a file unusable at the moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from dualbus.log.contract import LogDamaged, LogError

_NO_ROOM = (apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_SHMOPEN, apsw.SQLITE_IOERR_WRITE)
_DAMAGE = (apsw.NotADBError, apsw.CorruptError, apsw.IOError, apsw.SQLError, TypeError, UnicodeDecodeError)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise LogDamaged for an unreadable log, LogError for a file that cannot be opened."""
    try:
        yield
    except (*_DAMAGE, apsw.Error) as error:
        if isinstance(error, _DAMAGE) and not is_full(error):
            raise LogDamaged(f"{path} is not a log that can be read ({error}): restore it.") from None
        raise unusable(path, "opened", error) from None


def is_full(error: Exception) -> bool:
    """Tell whether the disk is full, for the file or for SQLite's files beside it."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", None) in _NO_ROOM


def unusable(path: Path, done: str, error: Exception) -> LogError:
    """Return the LogError for a file that cannot be opened or created at the moment."""
    return LogError(f"{path} cannot be {done} ({error}): see what it is, whose, and whether there is room.")
