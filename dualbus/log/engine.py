"""Open the event log: the only module that knows which engine stores a log.

To add an engine, implement `Log`, `ReadableLog` and `Audit` of `dualbus.log.contract`, run the tests of
`dualbus.testing.log_contract`, and choose the engine in these functions.
"""

from collections.abc import Callable
from pathlib import Path

from dualbus.application.app import App
from dualbus.log.contract import Audit, Decision, Log, ReadableLog
from dualbus.log.sqlite.audit import LogAudit
from dualbus.log.sqlite.copy import LogCopy, move_into
from dualbus.log.sqlite.memory import SqliteMemoryLog
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME, KEPT_NAME
from dualbus.log.sqlite.upgrade import UpgradedLog, is_interrupted, needs_upgrade, put_in_place
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.runtime.files import is_there

__all__ = [
    "KEPT_NAME",
    "LogCopy",
    "UpgradedLog",
    "is_interrupted",
    "log_exists",
    "log_file",
    "move_into",
    "needs_upgrade",
    "open_audit",
    "open_log",
    "open_memory_log",
    "open_reader",
    "put_in_place",
]


def log_file(folder: Path) -> Path:
    """Return the path of the log in a data folder; files beside the log begin with the same name."""
    return folder / FILE_NAME


def log_exists(folder: Path) -> bool:
    """Return whether a data folder has a log. Raises FatalError if the folder cannot be used."""
    return is_there(log_file(folder))


def open_log(folder: Path, genesis: Callable[[bytes], Decision]) -> Log:
    """Open the log for its only writer; create the log if the folder has none.

    `genesis` receives the secret of a new log and returns the first decision, with the command id GENESIS.
    Raises AlreadyRunningError if another process writes the log, LogDamaged if the log is damaged or has lost
    acknowledged events.
    """
    return SqliteLog(folder, genesis)


def open_memory_log(genesis: Callable[[bytes], Decision]) -> Log:
    """Create a log in memory, for tests of applications."""
    return SqliteMemoryLog(genesis)


def open_reader(folder: Path) -> ReadableLog:
    """Open the log read-only. Raises LogError if the folder has no log."""
    return SqliteLogReader(folder)


def open_audit(folder: Path, app: App) -> Audit:
    """Open the log for verification. Raises LogError if the folder has no log."""
    return LogAudit(folder, app)
