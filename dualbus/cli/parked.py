"""dualbus parked"""

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from dualbus.application import event_json
from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.reading import decoded
from dualbus.cli.settings import settings
from dualbus.log.engine import open_reader
from dualbus.reactions.store import RETRY, SKIP, Parked, ReactionStore

parked = typer.Typer(
    help="Show, retry or skip the events whose reaction has failed.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="REACTION", help="Name of the reaction.")]
Position = Annotated[int, typer.Argument(min=1, help="Position of the event.")]


@parked.command("list")
def list_parked(
    reaction: Annotated[str | None, typer.Option(help="Show only events of this reaction.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """List the parked events. An event blocks all later events with a common tag."""
    with closing(ReactionStore(settings().data)) as store:
        rows = store.parked(reaction)
    if as_json:
        for row in rows:
            output.json_line({**row._asdict(), "next_try": _next_try(row)})
        return
    columns = ["Reaction", "Position", "Parked at", "Tries", "Next try", "Reason"]
    shown = [(row.reaction, row.position, row.time, row.tries, _next_try(row), _reason(row)) for row in rows]
    output.show(output.table(columns, shown))


@parked.command("show")
def show(reaction: Name, position: Position) -> None:
    """Show a parked event with its public fields, as JSON."""
    found = settings()
    with closing(ReactionStore(found.data)) as store, closing(open_reader(found.data)) as log:
        row = _row(store, reaction, position)
        blocked = [one.position for one in store.parked(reaction) if one.follows == position]
        [event] = log.read(position - 1, 1)
    shown = event_json.shown(decoded(event, load(found.app)))
    output.json_line(
        {**row._asdict(), "next_try": _next_try(row), "blocks": blocked, "event": {**shown, "time": event.time}}
    )


@parked.command("retry")
def retry(reaction: Name, position: Position) -> None:
    """Run the reaction to an event again; afterwards, the events blocked by this event run."""
    with closing(ReactionStore(settings().data)) as store:
        row = _row(store, reaction, position)
        if row.follows:
            raise output.CliError(
                f"Position {position} waits for an earlier event: retry or skip position {row.follows}."
            )
        store.command_parked(reaction, position, RETRY)
    output.line(f"The running reactor retries {reaction}/{position} within a second, if the reaction runs.")


@parked.command("skip")
def skip(reaction: Name, position: Position) -> None:
    """Drop the reaction to an event; afterwards, the events blocked by this event run.

    If a try is under way, the event is skipped after a failure of this try.
    """
    with closing(ReactionStore(settings().data)) as store:
        _row(store, reaction, position)
        store.command_parked(reaction, position, SKIP)
    output.line(f"The running reactor skips {reaction}/{position} within a second, if the reaction runs.")


def _row(store: ReactionStore, reaction: str, position: int) -> Parked:
    for row in store.parked(reaction):
        if row.position == position:
            return row
    raise output.CliError(f"{reaction}/{position} is not parked: run `dualbus parked list`.")


def _next_try(row: Parked) -> str | None:
    if not row.due:
        return None
    return datetime.fromtimestamp(row.due / 1e6, UTC).isoformat(timespec="seconds")


def _reason(row: Parked) -> str:
    return f"{row.reason} ({row.follows})" if row.follows else row.reason
