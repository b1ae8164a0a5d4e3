"""Prints results to stdout, and notes, errors and progress bars to stderr."""

import json
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE = 0, 1, 2
PIPE_COLUMNS = 200  # of a table without a terminal


class CliError(Exception):
    """A refused or failed command; the text is a sentence with advice."""

    exit_code = EXIT_FAILED


class WrongUse(CliError):
    """Wrong use of a command; the text is a sentence with the right use."""

    exit_code = EXIT_WRONG_USE


@contextmanager
def _writing() -> Iterator[None]:
    """End the command if the result cannot be written: successfully after a closed pipe, else with a sentence."""
    try:
        yield
    except BrokenPipeError:
        hang_up()
        raise typer.Exit(EXIT_DONE) from None
    except OSError as problem:
        hang_up()
        raise CliError(
            f"Standard output cannot be written ({problem.strerror}): the command was run, and its result is lost."
        ) from None


def line(text: str) -> None:
    """Write a line of a result; after a closed pipe, end successfully."""
    with _writing():
        sys.stdout.write(text + "\n")


def flush() -> None:
    """Flush the lines written."""
    with _writing():
        sys.stdout.flush()


def rest(seconds: float) -> None:
    """Sleep; after a closed pipe, end successfully."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLERR)
    if poll.poll(seconds * 1000):
        hang_up()
        raise typer.Exit(EXIT_DONE)


def hang_up() -> None:
    """Redirect buffered output to /dev/null, to avoid Python's error message at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_line(value: object) -> None:
    """Write a value as one line of JSON."""
    line(json.dumps(value))


def note(text: str) -> None:
    """Print a note on stderr."""
    sys.stderr.write(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of these cells."""
    made = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def show(*tables: Table) -> None:
    """Write tables as wide as the terminal, or as wide as necessary without one."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False)
    with _writing(), console.capture() as captured:  # which flushes standard output
        console.print(*tables)
    for text in captured.get().splitlines():
        line(text.rstrip())


@contextmanager
def bar(what: str, *, wanted: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal; yield a function that reports it."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield lambda done, total: None
        return
    columns: list[Any] = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
