"""The read models of a data folder: one of this application, and those of other versions of the application."""

import os
from pathlib import Path

from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.files import Lock, lock_data

KEEP = 1  # read models of other versions, for a return to one of these versions


def other_read_models(path: Path) -> list[Path]:
    """Return the other finished read models in the folder, the most recently written first."""
    found = [other for other in path.parent.glob("read-*.db") if other != path]
    return sorted(found, key=_written, reverse=True)


def lock_writer(path: Path) -> Lock:
    """Lock a read model for its only writer. Raises AlreadyRunningError if another process writes the file."""
    return lock_data(path.parent, _lock_name(path), f"process writes the read model {path.name}")


def _lock_name(path: Path) -> str:
    """Return another name than that of the read model, because operators remove `read-*`."""
    return path.stem.replace("read", "writer", 1)


def is_written(path: Path) -> bool:
    """Return whether a process writes a read model: the projector of the running version, or a build."""
    try:
        lock_writer(path).release()
    except AlreadyRunningError:
        return True
    return False


def remove_others(path: Path, keep: int = KEEP) -> None:
    """Remove all other read models except the last written, and except those that a process writes."""
    kept = {other.name for other in other_read_models(path)[:keep]} | {path.name}
    for other in (*path.parent.glob("read-*.db"), *path.parent.glob("building-read-*.db")):
        name = other.name.removeprefix("building-")
        if other.name in kept or name == path.name:
            continue
        try:
            lock = lock_writer(other.with_name(name))
        except AlreadyRunningError:
            continue
        remove(other)
        if name not in kept:
            other.with_name(f"{_lock_name(other.with_name(name))}.lock").unlink()
        lock.release()


def remove(path: Path) -> None:
    """Remove a read model with SQLite's files beside it."""
    for part in path.parent.glob(path.name + "*"):
        part.unlink(missing_ok=True)


def _written(path: Path) -> float:
    wal = path.with_name(path.name + "-wal")
    try:
        return max(os.stat(one).st_mtime for one in (path, wal) if one.exists())
    except (FileNotFoundError, ValueError):  # another process has removed the file
        return 0.0
