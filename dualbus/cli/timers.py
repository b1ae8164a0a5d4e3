"""dualbus timers"""

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.reactions.store import CANCEL, FIRE, ReactionStore, Timer
from dualbus.runtime.printable import printable

timers = typer.Typer(
    help="Show, cancel or fire the pending timers of reactions.", no_args_is_help=True, rich_markup_mode=None
)

Reaction = Annotated[str, typer.Argument(metavar="REACTION", help="Name of the reaction.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the timer, as `dualbus timers list` shows it.")]


@timers.command("list")
def list_timers(
    reaction: Annotated[str | None, typer.Option(help="Show only timers of this reaction.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this number of timers.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """List the next timers and the next times of schedules."""
    with closing(ReactionStore(settings().data)) as store:
        rows = store.timers(reaction, limit)
    if as_json:
        for row in rows:
            shown = {"reaction": row.reaction, "name": row.name, "due": _due(row), "key": row.key, "type": row.type}
            output.json_line({**shown, "schedule": bool(row.schedule), "tries": row.tries, "error": row.error})
        return
    columns = ["Reaction", "Name", "Due", "Command", "Key", "Error"]
    output.show(output.table(columns, [(r.reaction, r.name, _due(r), r.type, r.key, r.error) for r in rows]))


@timers.command("cancel")
def cancel(reaction: Reaction, name: Name) -> None:
    """Cancel a timer. The log records the cancellation, under the key of the timer's command."""
    _command(reaction, name, CANCEL)
    output.line(f"The running reactor cancels {printable(name)} within a second.")


@timers.command("fire")
def fire(reaction: Reaction, name: Name) -> None:
    """Execute the command of a timer now."""
    _command(reaction, name, FIRE)
    output.line(f"The running reactor fires {printable(name)} within a second.")


def _command(reaction: str, name: str, command: str) -> None:
    with closing(ReactionStore(settings().data)) as store:
        if not store.command_timer(reaction, name, command):
            raise output.CliError(f"Reaction {reaction} has no pending timer {name!r}: run `dualbus timers list`.")


def _due(timer: Timer) -> str:
    if not timer.due:
        return "now"
    return datetime.fromtimestamp(timer.due / 1e6, UTC).isoformat(timespec="seconds")
