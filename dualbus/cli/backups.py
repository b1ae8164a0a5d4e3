"""dualbus backup, dualbus restore"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, read_head
from dualbus.log.sqlite.audit import LogAudit
from dualbus.log.sqlite.copy import LogCopy, move_into
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.runtime.files import is_there, lock_data, make_folder

To = Annotated[int | None, typer.Option(metavar="POSITION", help="Only up to this position; all, if not given.")]


def backup(
    file: Annotated[Path, typer.Argument(help="The file to make.")],
    to: To = None,
) -> None:
    """Back up the log to a file while the cluster runs.

    The copy is verified. Read models are not copied: the projector builds them from the log.
    """
    found = settings()
    app = load(found.app)
    source = found.data / FILE_NAME
    if not is_there(source):
        raise output.CliError(f"There is no log at {source}: point DUALBUS_DATA to the folder that has it.")
    if file.exists():
        raise output.CliError(f"{file} is there already: give another name, or move it away.")
    if not file.parent.is_dir():
        raise output.WrongUse(f"There is no folder {file.parent}: make it first.")
    with aside(file.parent) as folder:
        copy = _copied(source, folder, to)
        position = _proven(folder, app)
        copy.move_to(file)
    output.line(f"{file} holds the log up to position {position}, and its chain is whole.")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `dualbus backup` made.", exists=True, dir_okay=False)],
    to: To = None,
) -> None:
    """Restore the log from a verified backup.

    Restoring never overwrites a log, and refuses to run beside commandbus. The log starts a new incarnation: read
    models ahead of it are built again. If log.head remains, acknowledged events missing in the restored log are
    reported.
    """
    found = settings()
    app = load(found.app)
    with alone(found.data), aside(found.data) as folder:
        acknowledged = read_head(found.data)
        copy = _copied(file, folder, to)
        if acknowledged and acknowledged.identity.log != copy.identity.log:
            raise output.CliError(_another_log(found.data, acknowledged, f"{file} holds {copy.identity.log}"))
        copy.begin_new_incarnation()
        position = _proven(folder, app)
        copy.record_head()
        if acknowledged and (lacks := copy.lacks(acknowledged)):
            output.note(lacks)
        copy.close()
        move_into(found.data, folder)
    output.line(f"The log in {found.data} goes up to position {position}, and its chain is whole. Start the cluster.")


def _another_log(data: Path, acknowledged: Acknowledged, found: str) -> str:
    return (
        f"{data / HEAD_FILE_NAME} belongs to the log {acknowledged.identity.log}, of which position "
        f"{acknowledged.head.position} was acknowledged, and {found}: point DUALBUS_DATA to another folder, or move "
        "this one away."
    )


def no_head(data: Path) -> None:
    """Raise CliError if the log is missing and its log.head remains in the data folder."""
    if acknowledged := read_head(data):
        raise output.CliError(_another_log(data, acknowledged, "import makes a new log"))


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Lock a data folder. Raises AlreadyRunningError beside a running writer, CliError if a log exists."""
    make_folder(data)
    with ExitStack() as held:
        for name, what in (("log", "commandbus writes the log"), ("projector", "projector writes the read model")):
            held.callback(lock_data(data, name, what).release)
        for path in sorted(data.glob(f"{FILE_NAME}*")):
            raise output.CliError(f"{path} is there: move it away, all of {FILE_NAME}* together, and begin again.")
        yield


@contextmanager
def aside(beside: Path) -> Iterator[Path]:
    """Yield a temporary folder on the same disk, with files readable by their owner only."""
    before = os.umask(0o077)
    try:
        with tempfile.TemporaryDirectory(dir=beside, prefix=".dualbus-") as folder:
            yield Path(folder)
    finally:
        os.umask(before)


def _copied(source: Path, folder: Path, to: int | None) -> LogCopy:
    with output.bar("Copying") as progress:
        copy = LogCopy(source, folder, progress)
    if to is not None:
        copy.cut(to)
    return copy


def _proven(folder: Path, app: App) -> int:
    """Verify a copy; return its end. Raises VerificationError."""
    walk = LogAudit(folder, app)
    try:
        with output.bar("Verifying the copy") as progress:
            for recorded, _ in walk.events():
                if recorded.position % 500 == 0:
                    progress(recorded.position, walk.end)
        walk.check_file()
    finally:
        walk.close()
    return walk.position
