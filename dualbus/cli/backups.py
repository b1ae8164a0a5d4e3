"""dualbus backup, dualbus restore, dualbus upgrade"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.application.messages import Event
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.log.contract import VerificationError
from dualbus.log.engine import KEPT_NAME, LogCopy, forget_shared, log_file, move_into, open_audit
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, read_head
from dualbus.operations.upgrade import upgrade as upgrade_log
from dualbus.runtime.files import is_there, lock_data, make_folder
from dualbus.runtime.temporary import TemporaryFolder

To = Annotated[int | None, typer.Option(metavar="POSITION", help="Last position to include; default: all.")]


def backup(
    file: Annotated[Path, typer.Argument(help="Backup file to create.")],
    to: To = None,
) -> None:
    """Copy the log to a file and verify the copy.

    The cluster may run meanwhile. Read models are not copied: the projector rebuilds them from the log. An event
    that the application cannot read is a warning: the backup is made.
    """
    found = settings()
    app = load(found.app)
    source = log_file(found.data)
    if not is_there(source):
        raise output.CliError(f"No log at {source}: point DUALBUS_DATA to the folder of the log.")
    if file.exists():
        raise output.CliError(f"{file} already exists: use another name, or move the file away.")
    if not file.parent.is_dir():
        raise output.WrongUse(f"Folder {file.parent} does not exist: create it first.")
    with private_files(), TemporaryFolder(file.parent) as folder:
        copy = _copied(source, folder, to)
        position = _verified(folder, app)
        copy.move_to(file)
    output.line(f"{file} holds the log up to position {position}, and its chain is whole.")


def restore(
    file: Annotated[Path, typer.Argument(help="File of `dualbus backup`.", exists=True, dir_okay=False)],
    to: To = None,
) -> None:
    """Restore the log from a backup.

    The copy is verified before it becomes the log. An existing log is never overwritten; commandbus, projector and
    reactor must be stopped. The restored log is a new incarnation: read models beyond its last position are rebuilt.
    If log.head still exists, acknowledged positions that the backup lacks are reported.
    """
    found = settings()
    app = load(found.app)
    with exclusive_access(found.data), private_files(), TemporaryFolder(found.data) as folder:
        acknowledged = read_head(found.data)
        copy = _copied(file, folder, to)
        if acknowledged and acknowledged.identity.log != copy.identity.log:
            raise output.CliError(_another_log(found.data, acknowledged, f"{file} holds {copy.identity.log}"))
        copy.begin_new_incarnation()
        position = _verified(folder, app)
        copy.record_head()
        if acknowledged and (lacks := copy.lacks(acknowledged)):
            output.note(lacks)
        copy.close()
        forget_shared(found.data)  # no commit log has the new incarnation
        move_into(found.data, folder)
    output.line(f"The log in {found.data} goes up to position {position}, and its chain is whole. Start the cluster.")


def upgrade() -> None:
    """Upgrade a log of an earlier format.

    Makes a verified copy in the format of this dualbus, and keeps the old log unchanged, as log-format-1.db.
    Positions and idempotency keys remain valid; the read model is built again. commandbus, projector and reactor
    must be stopped; after an interruption, run the command again.
    """
    found = settings()
    app = load(found.app)
    with locked(found.data), private_files():
        done = upgrade_log(found.data, lambda folder: _verified(folder, app), lambda: output.bar("Copying"))
    if done is None:
        output.line(f"The log in {found.data} has the format of this dualbus: nothing to upgrade.")
        return
    output.line(
        f"The log in {found.data} has the new format, up to position {done}, and its chain is whole. "
        f"The old log is kept as {KEPT_NAME}. Start the cluster: the projector builds the read model."
    )


def _another_log(data: Path, acknowledged: Acknowledged, found: str) -> str:
    return (
        f"{data / HEAD_FILE_NAME} belongs to the log {acknowledged.identity.log}, of which position "
        f"{acknowledged.head.position} was acknowledged, but {found}: point DUALBUS_DATA to another folder, or move "
        "this one away."
    )


def check_no_head(data: Path) -> None:
    """Raise CliError if the data folder has the log.head of a missing log."""
    if acknowledged := read_head(data):
        raise output.CliError(_another_log(data, acknowledged, "import creates a new log"))


# A running reactor would send commands of the events that the restore has removed to the restored log.
LOCKS = {
    "log": "commandbus writes the log",
    "projector": "projector writes the read model",
    "reactor": "reactor runs the reactions",
}


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Lock the data folder. Raise AlreadyRunningError if commandbus, projector or reactor runs."""
    make_folder(data)
    with ExitStack() as held:
        for name, what in LOCKS.items():
            held.callback(lock_data(data, name, what).release)
        yield


@contextmanager
def exclusive_access(data: Path) -> Iterator[None]:
    """Lock the data folder. Raise AlreadyRunningError as `locked`, and CliError if a log exists."""
    with locked(data):
        log_name = log_file(data).name
        for path in sorted(data.glob(f"{log_name}*")):
            raise output.CliError(f"{path} exists: move all of {log_name}* away together, then retry.")
        yield


@contextmanager
def private_files() -> Iterator[None]:
    """Create files for this user only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _copied(source: Path, folder: Path, to: int | None) -> LogCopy:
    with output.bar("Copying") as progress:
        copy = LogCopy(source, folder, progress)
    if to is not None:
        copy.cut(to)
    return copy


class _AnyApplication(App):
    """An application without a shape for its events: an audit with it checks the log alone."""

    def decode(self, type_: str, data: str) -> Event:
        """Return an event without fields and tags."""
        return Event()


def _verified(folder: Path, app: App) -> int:
    """Verify a copy; return its last position. Raise VerificationError for a damaged copy.

    commandbus runs with an event that the application cannot read, or would tag otherwise, so the log of such an
    application needs copies, too: a note names the first of these events.
    """
    try:
        return _audited(folder, app)
    except VerificationError as problem:
        position = _audited(folder, _AnyApplication())
        _warn(str(problem))
        return position


def _warn(problem: str) -> None:
    output.note(f"Warning: The copy is whole, but the application does not fit the log. {problem}")


def _audited(folder: Path, app: App) -> int:
    audit = open_audit(folder, app)
    try:
        with output.bar("Verifying the copy") as progress:
            for recorded, _ in audit.events():
                if recorded.position % 500 == 0:
                    progress(recorded.position, audit.end)
        audit.check_file()
    finally:
        audit.close()
    if audit.warning:
        _warn(audit.warning)
    return audit.position
