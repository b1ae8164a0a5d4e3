"""The commands of `dualbus`. Errors are a sentence and an exit code, without a traceback."""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any

import typer

import dualbus
from dualbus.application.causes import own_text
from dualbus.cli import keys, output, tokens
from dualbus.cli.backups import backup, restore, upgrade
from dualbus.cli.building import build
from dualbus.cli.calling import command, query
from dualbus.cli.describing import describe
from dualbus.cli.dev import dev
from dualbus.cli.moving import move, refill
from dualbus.cli.new import new
from dualbus.cli.parked import parked
from dualbus.cli.reading import events
from dualbus.cli.sending import send
from dualbus.cli.status import status
from dualbus.cli.timeline import timeline
from dualbus.cli.timers import timers
from dualbus.cli.transfers import export, import_
from dualbus.cli.verifying import verify
from dualbus.runtime.errors import ConfigError, FatalError
from dualbus.runtime.streams import fill_standard_streams

COMMANDS: tuple[Callable[..., Any], ...] = (
    new,
    dev,
    describe,
    command,
    query,
    send,
    status,
    timeline,
    events,
    verify,
    build,
    backup,
    restore,
    upgrade,
    export,
    import_,
    move,
    refill,
)

app = typer.Typer(
    help="Send commands and queries to a dualbus cluster, inspect it, and maintain its log.\n\n"
    "Settings are read from DUALBUS_… variables and from the file .env.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for function in COMMANDS:
    app.command(function.__name__.strip("_"))(function)
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(parked, name="parked")
app.add_typer(timers, name="timers")


def _show_version(wanted: bool) -> None:
    if wanted:
        output.line(f"dualbus {dualbus.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Define the options of `dualbus` itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code: 0 done, 1 rejected or failed, 2 wrong use."""
    fill_standard_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    try:
        return _run(arguments)
    except output.CliError as failed:
        output.note(str(failed))
        return failed.exit_code
    except FatalError as fatal:
        for sentence in fatal.errors:
            output.note(sentence)
        return output.EXIT_WRONG_USE if isinstance(fatal, ConfigError) else output.EXIT_FAILED
    except Exception as unexpected:
        output.note(_described(unexpected))
        return output.EXIT_FAILED


def _end(number: int, frame: FrameType | None) -> None:
    """End by a signal, but not before the temporary copies of a log are removed."""
    raise SystemExit(128 + number)


def _described(error: Exception) -> str:
    """Return a sentence for an unexpected exception, of the application or of dualbus."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(own_text(error).split())
    where = f"{last.filename}, line {last.lineno}"
    return f"{type(error).__name__}: {text} ({where}). If the file is part of dualbus, please report this error."


def _run(arguments: Sequence[str] | None) -> int:
    code: object = output.EXIT_DONE
    try:
        app(arguments, prog_name="dualbus")
    except SystemExit as ended:  # Typer raises SystemExit, also without an error
        code = ended.code
    except OSError as problem:
        if problem.filename is not None:
            raise output.CliError(f"{problem.filename} cannot be used ({problem.strerror}).") from None
        raise
    try:
        output.flush()
    except typer.Exit:
        pass
    return code if isinstance(code, int) else output.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
