"""dualbus export, dualbus import"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.backups import alone, aside, no_head
from dualbus.cli.settings import settings
from dualbus.log.sqlite.copy import move_into
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.operations.transfer import exported, import_lines
from dualbus.runtime.files import sync_folder

CHUNK_EVENTS = 1000


def export() -> None:
    """Export every event as a line of JSON, with private fields.

    Refusals and idempotency keys are not exported: `dualbus backup` copies the whole log.
    """
    log = SqliteLogReader(settings().data)
    try:
        head = log.head().position
        with output.bar("Exporting", wanted=not sys.stdout.isatty()) as progress:
            at = 0
            while at < head:
                for recorded in log.read(at, min(CHUNK_EVENTS, head - at)):
                    output.line(exported(recorded))
                    at = recorded.position
                progress(at, head)
    finally:
        log.close()


def import_(
    file: Annotated[
        Path | None, typer.Argument(help="What `dualbus export` wrote; standard input if not given.")
    ] = None,
) -> None:
    """Import events from lines of JSON into a new log, all or none."""
    found = settings()
    app = load(found.app)
    with alone(found.data), aside(found.data) as folder:
        no_head(found.data)
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
