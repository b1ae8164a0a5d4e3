"""Starts a process with a fault in it, from the tests' side: the product has no switch for any of them.

python -m tests.faults.launch PROCESS ARM FAULT … [-- ARGUMENTS], in place of python -m PROCESS. Nothing happens
while there is no file ARM. The faults:

    kill before|after MODULE:CLASS.FUNCTION N   SIGKILL at its Nth call that is given something
    stop MODULE:CLASS.FUNCTION                  SIGSTOP before a call, and takes ARM away
    sync fail                                   one fsync of the log fails, and takes ARM away
    sync kill                                   SIGKILL before an fsync of the log
    sync slow                                   each fsync of the log takes half a second
    sync held                                   each fsync of the log waits until ARM is gone, and says so in HELD
    write full                                  a write to the log finds no space
    clock back                                  the clock of the machine is an hour behind
    head fail                                   a write to log.head fails, and takes ARM away
"""

import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw


def launched(process: str, arm: Path | str, *fault: str | int) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "tests.faults.launch", process, str(arm), *map(str, fault)]


def found(where: str) -> tuple[Any, str]:
    """Return the owner of a function, MODULE:CLASS.FUNCTION, and its name there."""
    module, _, path = where.partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name


def stop(arm: Path, where: str) -> None:
    """Wrap a function so that it stops the process once."""
    owner, name = found(where)
    function: Callable[..., Any] = getattr(owner, name)

    def wrapped(*args: Any) -> Any:
        if arm.exists():
            arm.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return function(*args)

    setattr(owner, name, wrapped)


def kill(arm: Path, when: str, where: str, number: str) -> None:
    """Wrap a function so that it kills the process."""
    owner, name = found(where)
    function: Callable[..., Any] = getattr(owner, name)
    left = int(number)

    def wrapped(*args: Any) -> Any:
        nonlocal left
        left -= arm.exists() and all(args)
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def slow_sync(arm: Path) -> None:
    """Take half a second for an fsync while there is a file `arm`."""
    if arm.exists():
        time.sleep(0.5)


class File(apsw.VFSFile):
    """A file as SQLite knows it."""

    def xLock(self, level: int) -> None:  # noqa: N802 - apsw's name
        """Lock; that a file opened for reading cannot be locked for writing is no news to SQLite."""
        try:
            super().xLock(level)
        except apsw.IOError:
            raise apsw.BusyError from None


class _LogFile(File):
    """The log's -wal, on a disk that has its troubles while there is a file `arm`."""

    arm: Path
    trouble: str

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        if self.trouble == "slow":
            slow_sync(self.arm)
        if self.arm.exists() and self.trouble == "fail":
            self.arm.unlink()
            raise apsw.IOError("injected")
        if self.arm.exists() and self.trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.arm.exists() and self.trouble == "held":
            self.arm.with_name("HELD").touch()
            time.sleep(0.01)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        if self.arm.exists() and self.trouble == "full":
            raise apsw.FullError("injected")
        super().xWrite(data, offset)


class _Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("troubled", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        kind = _LogFile if path and path.endswith("log.db-wal") else File
        return kind("unix", name, flags)


def disk(arm: Path, trouble: str) -> _Disk:
    """Put the log on a disk with troubles."""
    _LogFile.arm, _LogFile.trouble = arm, trouble
    return _Disk()


def clock(arm: Path, trouble: str) -> None:
    """Set the clock back."""
    right = time.time_ns
    time.time_ns = lambda: right() - (3_600_000_000_000 if arm.exists() else 0)


class _Os:
    """What dualbus.log.head calls of `os`, on a disk that fails once while there is a file ARM."""

    def __init__(self, arm: Path) -> None:
        self._arm = arm

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, file: int, data: bytes, offset: int) -> int:
        """Write, or fail."""
        if self._arm.exists():
            self._arm.unlink()
            raise OSError("injected")
        return os.pwrite(file, data, offset)


def head(arm: Path, trouble: str) -> None:
    """Put log.head on a disk with troubles."""
    vars(importlib.import_module("dualbus.log.head"))["os"] = _Os(arm)


FAULTS: dict[str, Callable[..., object]] = {
    "kill": kill,
    "stop": stop,
    "sync": disk,
    "write": disk,
    "clock": clock,
    "head": head,
}

if __name__ == "__main__":
    process, arm, fault, *rest = sys.argv[1:]
    end = rest.index("--") if "--" in rest else len(rest)
    kept = FAULTS[fault](Path(arm), *rest[:end])
    sys.argv[1:] = rest[end + 1 :]
    runpy.run_module(process if process == "dualbus" else f"dualbus.{process}", run_name="__main__", alter_sys=True)
