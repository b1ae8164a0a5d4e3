"""dualbus export, dualbus import"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.backups import check_no_head, exclusive_access, private_files
from dualbus.cli.settings import settings
from dualbus.log.engine import move_into, open_reader
from dualbus.operations.transfer import export_lines, import_lines
from dualbus.runtime.files import sync_folder
from dualbus.runtime.temporary import TemporaryFolder


def export(
    without_private: Annotated[
        bool, typer.Option(help="Omit private fields: for readers, not for an import.")
    ] = False,
) -> None:
    """Write commands and events of the log as lines of JSON.

    Private fields are included. `dualbus import` creates a log from the lines, with the same positions, idempotency
    keys and rejections.
    """
    found = settings()
    app = load(found.app) if without_private else None
    output.use_utf_8()
    log = open_reader(found.data)
    try:
        with output.bar("Exporting", wanted=not sys.stdout.isatty()) as progress:
            for line in export_lines(log, progress, app):
                output.line(line)
    finally:
        log.close()


def import_(
    file: Annotated[Path | None, typer.Argument(help="Output of `dualbus export`; default: standard input.")] = None,
) -> None:
    """Create a new log from the output of `dualbus export`.

    No log is created if a line is invalid. commandbus, projector and reactor must be stopped.
    """
    found = settings()
    app = load(found.app)
    with exclusive_access(found.data), private_files(), TemporaryFolder(found.data) as folder:
        check_no_head(found.data)
        with output.bar("Importing") as progress:
            position = import_lines(_lines(file), folder, app, lambda done: progress(done, done))
        sync_folder(folder)
        move_into(found.data, folder)
    output.line(f"The log in {found.data} goes up to position {position}. Start the cluster.")


def _lines(file: Path | None) -> Iterator[str]:
    """Yield the lines of a file or of standard input, in UTF-8 whatever the locale."""
    try:
        with open(file or sys.stdin.fileno(), encoding="utf-8", closefd=file is not None) as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise output.WrongUse(
            f"{file or 'Standard input'} cannot be read ({error}): pass the output of `dualbus export`."
        ) from None
