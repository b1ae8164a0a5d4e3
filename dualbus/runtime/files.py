"""Private files and folders, fsync, and locks against a second process.

Errors of the operating system become a FatalError: a sentence with the path, the reason and the next step.
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

CHUNK_BYTES = 1 << 18
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK = {errno.EROFS, errno.EIO}
DATA = ("data folder", "DUALBUS_DATA")  # a name and its setting
KEYS = ("folder of the keys", "DUALBUS_DATA or DUALBUS_KEYS")


def refusal(what: object, reason: str | None, number: int | None, otherwise: str) -> FatalError:
    """Return the FatalError for an error of the system: DataError for a disk, else ConfigError."""
    if number in _FULL:
        return DataError(f"{what} ({reason}): free some space.")
    if number in _DISK:
        return DataError(f"{what} ({reason}): check the disk.")
    return ConfigError(f"{what} ({reason}): {otherwise}.")


def _unusable(folder: Path, reason: str | None, number: int | None, use: tuple[str, str]) -> FatalError:
    name, setting = use
    otherwise = f"point {setting} to a folder that this user can make, read and write"
    return refusal(f"The {name} {folder} cannot be used", reason, number, otherwise)


@contextmanager
def usable(folder: Path, use: tuple[str, str] = DATA) -> Iterator[None]:
    """Convert an OSError of an operation in a folder into a FatalError."""
    try:
        yield
    except OSError as error:
        raise _unusable(folder, error.strerror, error.errno, use) from None


def check_folder(folder: Path, use: tuple[str, str] = DATA) -> None:
    """Raise ConfigError if the path of a folder exists and is not a folder, or is open to all users."""
    reason = ""
    try:
        mode = os.stat(folder).st_mode
        if not stat.S_ISDIR(mode):
            reason = "it is a file"
        elif mode & stat.S_IWOTH:
            raise ConfigError(f"The {use[0]} {folder} can be written by every user: run chmod 700 on the folder.")
    except FileNotFoundError:
        if folder.is_symlink():
            reason = f"it is a link to {os.readlink(folder)}, which does not exist"
    except PermissionError:
        pass  # only the gateway, which does not use the folder, can continue
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise _unusable(folder, reason, None, use)


def make_folder(folder: Path, use: tuple[str, str] = DATA) -> None:
    """Create a folder durably, with mode 0700, and its parents. Raise a FatalError if it is unusable."""
    check_folder(folder, use)
    with usable(folder, use):
        if not _exists(folder):
            for missing in reversed([each for each in folder.parents if not each.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)  # `parents=True` would have the mode of the umask
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))


def is_there(path: Path) -> bool:
    """Return whether a file of the data folder exists. Raise a FatalError if the folder is unusable."""
    check_folder(path.parent)
    with usable(path.parent):
        return _exists(path)


def _exists(path: Path) -> bool:
    """Return whether a path exists; raise OSError if unknown, unlike Path.exists."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors to the hard limit: every connection needs a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, after files were created, renamed or removed."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Flush the content of a file to disk, whichever process wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_again(path: Path) -> None:
    """Write the content of a file again in place, and flush the file to disk."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        offset = 0
        while chunk := os.pread(descriptor, CHUNK_BYTES, offset):
            offset += os.pwrite(descriptor, chunk, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Replace a file durably; it has mode 0600 from the start, and a reader finds the old file or the new."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(descriptor)
    temporary.rename(path)
    sync_folder(path.parent)


def _locked(path: Path, what: str) -> int:
    # A link would let the owner of the folder empty a file of this user.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise AlreadyRunningError(f"Another {what} (pid {holder or 'unknown'}): stop it first.") from None
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


class Lock:
    """An exclusive lock on a file. The kernel releases the lock when the process ends, however it ends."""

    def __init__(self, path: Path, what: str) -> None:
        self._descriptor = _locked(path, what)
        while not _is_at(self._descriptor, path):  # the process that held the lock has removed its file
            os.close(self._descriptor)
            self._descriptor = _locked(path, what)
        with suppress(OSError):  # on a full disk; only an error text needs the pid
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


def lock_name(folder: Path, name: str) -> str:
    """Return a text that differs for the locks `name` of two data folders, also of a folder and its copy."""
    boot = Path("/proc/sys/kernel/random/boot_id")  # of Linux
    found = (folder / f"{name}.lock").stat()
    return f"{boot.read_text().strip() if boot.exists() else ''}:{found.st_dev}:{found.st_ino}"


def lock_data(folder: Path, name: str, what: str) -> Lock:
    """Lock `name` in the data folder. Raise AlreadyRunningError if another process holds the lock."""
    with usable(folder):
        return Lock(folder / f"{name}.lock", f"{what} in {folder}")
