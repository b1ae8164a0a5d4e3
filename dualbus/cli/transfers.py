"""dualbus export, dualbus import"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.backups import check_no_head, exclusive_access, temporary_folder
from dualbus.cli.settings import settings
from dualbus.log.engine import move_into, open_reader
from dualbus.operations.transfer import exported, import_lines
from dualbus.runtime.files import sync_folder

CHUNK_EVENTS = 1000


def export() -> None:
    """Write the events of the log as lines of JSON.

    Private fields are included. Rejections and idempotency keys are not exported; `dualbus backup` copies the whole
    log.
    """
    log = open_reader(settings().data)
    try:
        head = log.head().position
        with output.bar("Exporting", wanted=not sys.stdout.isatty()) as progress:
            position = 0
            while position < head:
                for recorded in log.read(position, min(CHUNK_EVENTS, head - position)):
                    output.line(exported(recorded))
                    position = recorded.position
                progress(position, head)
    finally:
        log.close()


def import_(
    file: Annotated[Path | None, typer.Argument(help="Output of `dualbus export`; default: standard input.")] = None,
) -> None:
    """Create a new log from exported events.

    No log is created if a line is invalid.
    """
    found = settings()
    app = load(found.app)
    with exclusive_access(found.data), temporary_folder(found.data) as folder:
        check_no_head(found.data)
        with output.bar("Importing") as progress:
            position = import_lines(_lines(file), folder, app, lambda done: progress(done, done))
        sync_folder(folder)
        move_into(found.data, folder)
    output.line(f"The log in {found.data} goes up to position {position}. Start the cluster.")


def _lines(file: Path | None) -> Iterator[str]:
    if file is None:
        yield from sys.stdin
        return
    try:
        with file.open(encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise output.WrongUse(f"{file} cannot be read ({error}).") from None
