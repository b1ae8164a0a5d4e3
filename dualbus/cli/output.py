"""Write results to stdout; notes, errors and progress bars to stderr."""

import json
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dualbus.runtime.printable import printable

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE = 0, 1, 2
PIPE_COLUMNS = 200  # the width of a table without a terminal


class CliError(Exception):
    """The command was rejected or failed; the text is a sentence with the next step."""

    exit_code = EXIT_FAILED


class WrongUse(CliError):
    """The arguments are wrong; the text is a sentence with the correction."""

    exit_code = EXIT_WRONG_USE


@contextmanager
def _writing() -> Iterator[None]:
    """End the command if stdout fails: with exit code 0 after the reader has closed the pipe, else with an error."""
    try:
        yield
    except BrokenPipeError:
        discard_stdout()
        raise typer.Exit(EXIT_DONE) from None
    except OSError as problem:
        discard_stdout()
        raise CliError(
            f"Standard output cannot be written ({problem.strerror}): the command has run, but its result is lost."
        ) from None


def use_utf_8() -> None:
    """Write the result in UTF-8 whatever the locale, for a result that a program reads."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")


def line(text: str) -> None:
    """Write a line of a result; end with exit code 0 if the reader has closed the pipe."""
    _write(_lines(text))


def _write(text: str) -> None:
    with _writing():
        sys.stdout.write(text + "\n")


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def flush() -> None:
    """Flush the written lines."""
    with _writing():
        sys.stdout.flush()


def sleep_or_exit(seconds: float) -> None:
    """Sleep; end with exit code 0 if the reader has closed the pipe."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLERR)
    if poll.poll(seconds * 1000):
        discard_stdout()
        raise typer.Exit(EXIT_DONE)


def discard_stdout() -> None:
    """Redirect stdout to /dev/null: otherwise Python reports the unwritten buffer at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_line(value: object) -> None:
    """Write a value as a line of JSON."""
    line(json.dumps(value))


def note(text: str) -> None:
    """Write a note or an error to stderr."""
    sys.stderr.write(_lines(text) + "\n")


def sentence(text: str) -> Text:
    """Return a text for `show`, without the controls of values in the text."""
    return Text(printable(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of the rows."""
    cells = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        cells.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    return cells


def show(*parts: RenderableType) -> None:
    """Write tables and texts, in the width of the terminal, or of PIPE_COLUMNS without a terminal."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, markup=False, emoji=False, highlight=False)
    with _writing(), console.capture() as captured:  # capture() flushes standard output
        console.print(*parts)
    for text in captured.get().splitlines():
        _write(text.rstrip())  # with the controls of the table


@contextmanager
def bar(what: str, *, wanted: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, if stderr is a terminal; yield the function that updates the bar."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield lambda done, total: None
        return
    columns: list[Any] = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
