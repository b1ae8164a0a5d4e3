"""dualbus events"""

import json
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Annotated

import typer

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.errors import problems_from
from dualbus.application.loader import load
from dualbus.application.messages import Event
from dualbus.application.names import nearest
from dualbus.cli import output
from dualbus.cli.names import find
from dualbus.cli.settings import settings
from dualbus.log.contract import Outcome, ReadableLog, RecordedEvent
from dualbus.log.engine import open_reader
from dualbus.log.tags import Tagger
from dualbus.runtime.printable import printable

CHUNK_EVENTS = 1000
HEAD_POLL_SECONDS = 0.1  # between checks for new events


def events(
    first: Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="First position to show.")] = 1,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Show only events of this type; repeatable.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME:VALUE", help="Show only events with this tag.")] = None,
    of_command: Annotated[
        str | None, typer.Option(metavar="KEY", help="Show only the events of the command with this key.")
    ] = None,
    caused_by: Annotated[
        int | None,
        typer.Option(min=1, metavar="POSITION", help="Show only the events that this event caused, also indirectly."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Keep showing new events, until Ctrl-C.")] = False,
    private: Annotated[bool, typer.Option(help="Show private fields, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per line, with the origin of the command.")
    ] = False,
) -> None:
    """Show events of the log.

    Reads the data folder, not the cluster. Old events are upcast to their current types.
    """
    found = settings()
    app = load(found.app)
    for name in types or ():
        find("event", name, app.event_types)
    log = open_reader(found.data)
    try:
        for chunk in _source(log, app, first - 1, tag, of_command, caused_by, follow=follow):
            _show([one for one in chunk if one.position >= first], app, log, types, private=private, as_json=as_json)
    except KeyboardInterrupt:
        pass
    finally:
        log.close()


def _source(
    log: ReadableLog,
    app: App,
    after: int,
    tag: str | None,
    of_command: str | None,
    caused_by: int | None,
    *,
    follow: bool,
) -> Iterator[list[RecordedEvent]]:
    if sum(wanted is not None for wanted in (tag, of_command, caused_by)) > 1 or (
        follow and (of_command is not None or caused_by is not None)
    ):
        raise output.WrongUse("--of-command and --caused-by cannot be combined with each other, --tag or --follow.")
    if of_command is not None:
        return _of_command(log, of_command)
    if caused_by is not None:
        return _caused_by(log, caused_by)
    return _read(log, after, _tag(tag, app, log.secret) if tag else None, follow=follow)


def _tag(text: str, app: App, secret: bytes) -> str:
    """Return a tag in the form of the log's index."""
    name, colon, value = text.partition(":")
    names = app.tags
    if not colon or name not in names:
        raise output.WrongUse(f"Unknown tag {name!r}{nearest(name, names)} Write NAME:VALUE.")
    return Tagger(app.private_tags, secret).tag(name, value)


def _read(log: ReadableLog, after: int, tag: str | None, *, follow: bool) -> Iterator[list[RecordedEvent]]:
    while True:
        found = log.read(after, CHUNK_EVENTS) if tag is None else log.history([tag], after=after, limit=CHUNK_EVENTS)
        yield found
        if found:
            after = found[-1].position
        elif not follow:
            return
        else:
            output.flush()
            output.sleep_or_exit(HEAD_POLL_SECONDS)


def _of_command(log: ReadableLog, key: str) -> Iterator[list[RecordedEvent]]:
    """Yield the events of a command; note a rejection."""
    outcome = log.outcomes([key]).get(key)
    if outcome is None:
        raise output.CliError(f"The log has no command with the key {key!r}.")
    if outcome.errors:
        sentences = [printable(problem.text) for problem in problems_from(outcome.errors)]
        output.note(f"The command was rejected: {'; '.join(sentences)}.")
    yield _events(log, outcome)


def _caused_by(log: ReadableLog, position: int) -> Iterator[list[RecordedEvent]]:
    """Yield the events of the commands that react to an event, and to the events of these commands, in order."""
    if log.hash_at(position) is None:
        raise output.CliError(f"The log has positions 1 to {log.head().position}: {position} is not in the log.")
    pending = [(outcome.first, outcome) for outcome in log.caused_by(position)]
    while pending:
        found = _events(log, heappop(pending)[1])
        yield found
        for recorded in found:
            for outcome in log.caused_by(recorded.position):
                heappush(pending, (outcome.first, outcome))


def _events(log: ReadableLog, outcome: Outcome) -> list[RecordedEvent]:
    return log.read(outcome.first - 1, outcome.events) if outcome.events else []


def _show(
    events: list[RecordedEvent],
    app: App,
    log: ReadableLog,
    types: list[str] | None,
    *,
    private: bool,
    as_json: bool,
) -> None:
    outcomes = log.outcomes({recorded.command_id for recorded in events}) if as_json else {}
    for recorded in events:
        event = decoded(recorded, app)
        name = type(event).__name__
        if types and name not in types:
            continue
        fields = event_json.fields_of(event)
        data = fields if private else event_json.public(type(event), fields)["payload"]
        if as_json:
            origin = outcomes[recorded.command_id].origin
            shown = {**origin._asdict(), "type": origin.type or None}
            head = {"position": recorded.position, "type": name, "time": recorded.time}
            output.json_line({**head, "command_id": recorded.command_id, "origin": shown, "data": data})
        else:
            output.line(f"{recorded.position}  {recorded.time}  {name}  {json.dumps(data, ensure_ascii=False)}")


def decoded(recorded: RecordedEvent, app: App) -> Event:
    """Return the event of a record. Raises CliError for an unreadable record."""
    try:
        return app.decode(recorded.type, recorded.data)
    except Unreadable as unreadable:
        raise output.CliError(
            f"The application cannot read position {recorded.position} as {recorded.type} ({unreadable.cause}): "
            "check the log with `dualbus verify`."
        ) from None
