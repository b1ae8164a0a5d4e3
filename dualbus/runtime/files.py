"""Files and folders that only their owner may read, and the lock that keeps a second process out.

What the system refuses on the way becomes a Fault here: a sentence with the path, the reason and what to do.
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
    """Return the Fault for an error of the system: a disk to look after, or else a setting to put right."""
    if number in _FULL:
        return DataError(f"{what} ({reason}): free some space.")
    if number in _DISK:
        return DataError(f"{what} ({reason}): look after the disk.")
    return ConfigError(f"{what} ({reason}): {otherwise}.")


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Raise a Fault where the system refuses what is done in the data folder."""
    try:
        yield
    except OSError as error:
        raise refusal(
            f"The data folder {folder} cannot be used", error.strerror, error.errno, _OTHER_FOLDER
        ) from None


def check_folder(folder: Path) -> None:
    """Raise ConfigError if the path of the data folder is taken by anything else; a path with nothing is right."""
    reason = ""
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            reason = "it is a file"
    except FileNotFoundError:
        if folder.is_symlink():
            reason = f"it is a link to {os.readlink(folder)}, which does not exist"
    except PermissionError:
        pass  # whoever needs the folder finds out, and the gateway does not
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise refusal(f"The data folder {folder} cannot be used", reason, None, _OTHER_FOLDER)


def make_folder(folder: Path) -> None:
    """Make the data folder, of mode 0700, and its parents, durably. Raises a Fault if it cannot be used."""
    check_folder(folder)
    with usable(folder):
        if not _exists(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))


def is_there(path: Path) -> bool:
    """Tell whether a file is in the data folder. Raises a Fault if the folder cannot be used."""
    check_folder(path.parent)
    with usable(path.parent):
        return _exists(path)


def _exists(path: Path) -> bool:
    """Tell whether a path exists; raise OSError where that cannot be known, which Path.exists does not always."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def raise_descriptor_limit() -> None:
    """Allow this process as many open descriptors as the system lets it: each connection has one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sync_folder(folder: Path) -> None:
    """Make durable what was created, renamed or removed in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make durable what was written to a file, by whichever process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """A lock on a file, held for life: the kernel lets go of it whatever way the process ends."""

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
        """Let go of the lock."""
        os.close(self._descriptor)


def lock_data(folder: Path, name: str, what: str) -> Lock:
    """Lock `name` in the data folder. Raises Taken if another process has it, a Fault if it cannot be made."""
    with usable(folder):
        return Lock(folder / f"{name}.lock", f"{what} in {folder}")
