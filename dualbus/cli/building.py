"""dualbus build"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.log.contract import ReadableLog
from dualbus.log.engine import open_reader
from dualbus.readmodel.builder import Builder
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.readmodel.comparison import Comparison, TableDifference
from dualbus.readmodel.file import file_name
from dualbus.readmodel.folder import KEEP, is_written, lock_writer, other_read_models
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.logging import TextFormatter
from dualbus.worker.interrupt import Interrupt

Step = Callable[[int | None], int]  # continue up to a position, or to the head of the log; return the position


def build(
    keep: Annotated[
        int, typer.Option(min=0, help="Keep this number of read models of other versions, for a return to these.")
    ] = KEEP,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the rows that differ from those of the running version.")
    ] = False,
) -> None:
    """Build the read model of a new version.

    Run this command with the new code, while the cluster runs with the old code. The tables of unchanged projections
    are copied. Afterwards restart projector and querybus with the new code: they answer at once. A further run
    applies only the events since the last run.
    """
    found = settings()
    app, log = load(found.app), open_reader(found.data)
    path = found.data / file_name(app.projections)
    before = os.umask(0o077)
    try:
        lock = lock_writer(path)
        try:
            check_log_is_complete(found.data, log)
            app.check_stored(log.types())
            _build(path, app, log, keep, compare)
        finally:
            lock.release()
    except AlreadyRunningError:
        output.line(
            f"No build is needed: another process writes {path.name}, the read model of these projections. If only "
            "the code of a function has changed, raise the version of its projection."
        )
    finally:
        os.umask(before)


def _build(path: Path, app: App, log: ReadableLog, keep: int, compare: bool) -> None:
    others, began = other_read_models(path), time.monotonic()
    with _progress() as report:
        builder = Builder(path, app, log, Interrupt(), keep=keep)

        def step(until: int | None = None) -> int:
            builder.build(until)
            if builder.failure:
                raise output.CliError(f"{builder.failure}.")
            report(builder.position, builder.head)
            return builder.position

        if compare and others:
            _compare(step, builder, next(filter(is_written, others), others[0]))
        while not builder.done or not builder.updater or builder.updater.behind:
            step()
        builder.updater.writer.close()
    output.line(
        f"The read model {path.name} has all events up to position {builder.position}, after "
        f"{time.monotonic() - began:.1f} s: restart projector and querybus with this version."
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Report progress to stderr: a bar on a terminal, else a line each second."""
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter("%(message)s"))
    handler.setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    logger = logging.getLogger("dualbus.readmodel")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with output.bar("Building") as report:
            yield report
    finally:
        logger.removeHandler(handler)


def _compare(step: Step, builder: Builder, before: Path) -> None:
    """Apply events up to the position of the earlier read model, and show the differences there."""
    while not builder.path:
        step(0)
    with closing(Comparison(before, builder.path)) as comparison:
        position = comparison.position
    while builder.position < position:  # without a snapshot for long, which would keep SQLite's -wal file growing
        step(position)
    with closing(Comparison(before, builder.path)) as comparison:
        while builder.position < comparison.position:
            step(comparison.position)
        if builder.position > comparison.position:
            raise output.CliError(
                f"{before.name} stays at position {comparison.position}, and the new read model is at position "
                f"{builder.position}: start the projector of the earlier version, or leave out --compare."
            )
        use = "" if is_written(before) else ", which no process writes,"
        output.line(f"Compared with {before.name}{use} at position {comparison.position}:")
        for difference in comparison.differences():
            _show(difference)


def _show(difference: TableDifference) -> None:
    before, after = (
        "no table" if rows is None else f"{rows} rows" for rows in (difference.rows_before, difference.rows_after)
    )
    columns = f"; only in one version: {', '.join(difference.columns)}" if difference.columns else ""
    output.line(
        f"{difference.table}: {before} before, {after} after; {difference.only_before} only before, "
        f"{difference.only_after} only after{columns}"
    )
    for sign, rows in (("-", difference.first_before), ("+", difference.first_after)):
        for row in rows:
            output.line(f"  {sign} {', '.join(f'{name}={value!r}' for name, value in row.items())}")
