"""Files and folders readable by their owner only, and a lock against a second process.

Errors of the system become a FatalError: a sentence with the path, the reason and advice.
"""

import errno
import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dualbus.runtime.errors import AlreadyRunningError, ConfigError, DataError, FatalError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK = {errno.EROFS, errno.EIO}
_OTHER_FOLDER = "point DUALBUS_DATA to a folder that this user can make, read and write"


def refusal(what: object, reason: str | None, number: int | None, otherwise: str) -> FatalError:
    """Return the FatalError for a system error: about a disk, or about a setting."""
    if number in _FULL:
        return DataError(f"{what} ({reason}): free some space.")
    if number in _DISK:
        return DataError(f"{what} ({reason}): look after the disk.")
    return ConfigError(f"{what} ({reason}): {otherwise}.")


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Raise a FatalError for system errors about the data folder."""
    try:
        yield
    except OSError as error:
        raise refusal(
            f"The data folder {folder} cannot be used", error.strerror, error.errno, _OTHER_FOLDER
        ) from None


def check_folder(folder: Path) -> None:
    """Raise ConfigError if the path of the data folder is not a folder; a missing folder is fine."""
    reason = ""
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            reason = "it is a file"
    except FileNotFoundError:
        if folder.is_symlink():
            reason = f"it is a link to {os.readlink(folder)}, which does not exist"
    except PermissionError:
        pass  # raised on use; the gateway does not use the folder
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise refusal(f"The data folder {folder} cannot be used", reason, None, _OTHER_FOLDER)


def make_folder(folder: Path) -> None:
    """Create the data folder, of mode 0700, and its parents, durably. Raises a FatalError if it is unusable."""
    check_folder(folder)
    with usable(folder):
        if not _exists(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))


def is_there(path: Path) -> bool:
    """Tell whether a file is in the data folder. Raises a FatalError if the folder is unusable."""
    check_folder(path.parent)
    with usable(path.parent):
        return _exists(path)


def _exists(path: Path) -> bool:
    """Tell whether a path exists; raise OSError if unknown, unlike Path.exists in some cases."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors to the system's maximum: each connection needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sync_folder(folder: Path) -> None:
    """Sync a folder, for files created, renamed or removed in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Sync a file, for writes of any process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """A lock on a file, held for the life of the process: the kernel releases it however the process ends."""

    def __init__(self, path: Path, what: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise AlreadyRunningError(f"Another {what} (pid {holder or 'unknown'}): stop it first.") from None
        with suppress(OSError):  # a full disk has no room for the pid, which only a sentence needs
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


def lock_data(folder: Path, name: str, what: str) -> Lock:
    """Lock `name` in the data folder. Raises AlreadyRunningError, or a FatalError if the file is unusable."""
    with usable(folder):
        return Lock(folder / f"{name}.lock", f"{what} in {folder}")
