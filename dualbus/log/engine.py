"""Open the event log: the only module that knows which engine stores a log.

To add an engine, implement `Log`, `ReadableLog` and `Audit` of `dualbus.log.contract`, run the tests of
`dualbus.testing.log_contract`, and choose the engine in these functions.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

from dualbus.application.app import App
from dualbus.log.commits import CommitLog, SharedLog
from dualbus.log.contract import Audit, Decision, Log, ReadableLog
from dualbus.log.sqlite.audit import LogAudit
from dualbus.log.sqlite.bodies import StoredCommits
from dualbus.log.sqlite.copy import LogCopy, move_into
from dualbus.log.sqlite.memory import SqliteMemoryLog
from dualbus.log.sqlite.reader import SqliteLogReader, is_interrupted
from dualbus.log.sqlite.schema import FILE_NAME, KEPT_NAME, REPLICA_NAME, SHARED_NAME, UPGRADE_FOLDER
from dualbus.log.sqlite.shared import SharedLog as SqliteSharedLog
from dualbus.log.sqlite.upgrade import UpgradedLog, needs_upgrade, put_in_place
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.runtime.errors import ConfigError
from dualbus.runtime.files import is_there, sync_folder, usable, write_private

__all__ = [
    "KEPT_NAME",
    "UPGRADE_FOLDER",
    "LogCopy",
    "StoredCommits",
    "UpgradedLog",
    "forget_shared",
    "is_interrupted",
    "log_exists",
    "log_file",
    "mark_shared",
    "move_into",
    "needs_upgrade",
    "open_audit",
    "open_commit_log",
    "open_log",
    "open_memory_log",
    "open_reader",
    "open_shared_log",
    "put_in_place",
    "replica_name",
    "shared_name",
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


def open_commit_log(url: str, *, create: bool) -> CommitLog:
    """Connect to the commit log at an address. Raises ConfigError for an unknown address or a missing driver."""
    try:
        if url.startswith("nats://"):
            from dualbus.log.nats.address import read_address
            from dualbus.log.nats.commit_log import NatsCommitLog

            return NatsCommitLog(read_address(url), create=create)
        if url.startswith("postgresql://"):
            from dualbus.log.postgresql.commit_log import PostgresCommitLog

            return PostgresCommitLog(url, create=create)
    except ImportError as missing:
        extra = url.partition(":")[0]
        raise ConfigError(
            f"DUALBUS_LOG needs a driver that is not installed ({missing.name}): pip install 'dualbus[{extra}]'."
        ) from None
    raise ConfigError(
        f"DUALBUS_LOG is {url.partition(':')[0]}:…: use sqlite:, nats://HOST,HOST,HOST/NAME or "
        "postgresql://HOST/DATABASE."
    )


def open_shared_log(url: str, folder: Path, genesis: Callable[[bytes], Decision], host: str) -> SharedLog:
    """Open the log of several machines, with its replica in the folder. See `open_log`."""
    commits = open_commit_log(url, create=True)
    try:
        return SqliteSharedLog(folder, commits, genesis, host)
    except BaseException:
        commits.close()
        raise


def open_memory_log(genesis: Callable[[bytes], Decision]) -> Log:
    """Create a log in memory, for tests of applications."""
    return SqliteMemoryLog(genesis)


def shared_name(folder: Path) -> str:
    """Return the name of the commit log of the replica in a folder; empty for the log of one machine."""
    marker = folder / SHARED_NAME
    return marker.read_text().strip() if is_there(marker) else ""


def mark_shared(folder: Path, name: str) -> None:
    """Make the log in a folder durably a replica of a commit log: no process writes it as the log of one machine."""
    with usable(folder):
        write_private(folder / SHARED_NAME, name)


def replica_name(folder: Path) -> str:
    """Return a random name of a data folder, the same each time."""
    path = folder / REPLICA_NAME
    if not is_there(path):
        with usable(folder):
            write_private(path, str(uuid.uuid4()))
    return path.read_text().strip()


def forget_shared(folder: Path) -> None:
    """Allow the replica in a folder to be written as the log of one machine."""
    (folder / SHARED_NAME).unlink(missing_ok=True)
    sync_folder(folder)


def open_reader(folder: Path) -> ReadableLog:
    """Open the log read-only. Raises LogError if the folder has no log."""
    return SqliteLogReader(folder)


def open_audit(folder: Path, app: App) -> Audit:
    """Open the log for verification. Raises LogError if the folder has no log."""
    return LogAudit(folder, app)
