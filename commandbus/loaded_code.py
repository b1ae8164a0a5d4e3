"""The hash of the code of this process, so that a state folded by other code is never read.

A state is a function of the events and of all code that folds them: `apply`, the functions that it calls, the classes
of the events, the upcasts, pydantic. All files of loaded modules count, because no subset is certain to be complete.
"""

import os
import sys
import time
from functools import cached_property
from hashlib import sha256
from pathlib import Path

SYSTEM_STAT = Path("/proc/self/stat")  # of Linux; without it, no state is kept on disk
START_FIELD = 19  # after the name of the process: its start, in clock ticks since the boot


class CodeUnknown(Exception):
    """Raised if the files of the modules may differ from the code in memory; the text is the reason."""


class LoadedCode:
    """The modules of an application (`module:name`) that are loaded now, and later those that functions import."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._started = _process_start()
        self._modules = _files()
        # A path may lead to the older file of another release later, whose time of change is no sign.
        self._found = {path: _identity(path) for path in self._modules.values()}
        self._hashes: dict[str, str] = {}  # by path

    @cached_property
    def hash(self) -> str:
        """The hash of interpreter, application and modules at the time of the constructor. Raises CodeUnknown."""
        hashes = [(name, self.hash_of(path)) for name, path in sorted(self._modules.items())]
        return sha256(repr((sys.version, sys.flags.optimize, self._app, hashes)).encode()).hexdigest()

    def later(self) -> dict[str, str]:
        """Return the hashes of the modules that were imported later, by path. Raises CodeUnknown."""
        return {path: self.hash_of(path) for name, path in _files().items() if name not in self._modules}

    def hash_of(self, path: str) -> str:
        """Return the hash of a file's content and time.

        Raises CodeUnknown if the file has changed since the start of the process, or if the path leads to another
        file than before.
        """
        try:
            with open(path, "rb") as file:
                content = b"" if path in self._hashes else file.read()
                found, identity = os.fstat(file.fileno()), _identity(file.fileno())
        except OSError as error:
            raise CodeUnknown(f"{path} cannot be read ({error.strerror})") from None
        if found.st_ctime >= self._started or self._found.setdefault(path, identity) != identity:
            raise CodeUnknown(f"{path} has changed since the start of the process")
        if path not in self._hashes:
            # Python compares the time, not the content, with its compiled file.
            self._hashes[path] = sha256(content + str(found.st_mtime_ns).encode()).hexdigest()
        return self._hashes[path]


def _files() -> dict[str, str]:
    """Return the files of the loaded modules by name, without modules that are built into the interpreter."""
    found = {}
    for name, module in list(sys.modules.items()):
        if path := getattr(module, "__file__", None):
            found[name] = str(path)
    return found


def _identity(file: str | int) -> tuple[int, int, int, int] | None:
    """Return the identity of a file, by path or descriptor, with its times; None if there is no file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _process_start() -> float:
    """Return the time at which this process started, or 0 if unknown: then every file counts as changed."""
    try:
        ticks = int(SYSTEM_STAT.read_text().rpartition(")")[2].split()[START_FIELD])
        # Rounded up by a tick of some milliseconds, in which a process has not read any application.
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks + 1) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
    return time.time() - seconds
