"""dualbus events"""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.names import find, nearest
from dualbus.cli.settings import settings
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.log.engine import open_reader
from dualbus.log.tags import Tagger

CHUNK_EVENTS = 1000
HEAD_POLL_SECONDS = 0.1  # between checks for new events


def events(
    first: Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="First position to show.")] = 1,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Show only events of this type; repeatable.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME:VALUE", help="Show only events with this tag.")] = None,
    follow: Annotated[bool, typer.Option(help="Keep showing new events, until Ctrl-C.")] = False,
    private: Annotated[bool, typer.Option(help="Show private fields, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """Show events of the log.

    Reads the data folder, not the cluster. Old events are upcast to their current types.
    """
    found = settings()
    app = load(found.app)
    for name in types or ():
        find("event", name, app.event_types)
    log = open_reader(found.data)
    stored_tag = _tag(tag, app, log.secret) if tag else None
    try:
        for recorded in _read(log, first - 1, stored_tag, follow=follow):
            _show(recorded, app, types, private=private, as_json=as_json)
    except KeyboardInterrupt:
        pass
    finally:
        log.close()


def _tag(text: str, app: App, secret: bytes) -> str:
    """Return a tag in the form of the log's index."""
    name, colon, value = text.partition(":")
    names = app.tags
    if not colon or name not in names:
        raise output.WrongUse(f"Unknown tag {name!r}{nearest(name, names)} Write NAME:VALUE.")
    return Tagger(app.private_tags, secret).tag(name, value)


def _read(log: ReadableLog, after: int, tag: str | None, *, follow: bool) -> Iterator[RecordedEvent]:
    while True:
        found = log.read(after, CHUNK_EVENTS) if tag is None else log.history([tag], after=after)
        yield from found
        if found:
            after = found[-1].position
        elif not follow:
            return
        else:
            output.flush()
            output.sleep_or_exit(HEAD_POLL_SECONDS)


def _show(recorded: RecordedEvent, app: App, types: list[str] | None, *, private: bool, as_json: bool) -> None:
    try:
        event = app.decode(recorded.type, recorded.data)
    except Unreadable as unreadable:
        raise output.CliError(
            f"The application cannot read position {recorded.position} as {recorded.type} ({unreadable.cause}): "
            "check the log with `dualbus verify`."
        ) from None
    name = type(event).__name__
    if types and name not in types:
        return
    data: dict[str, Any] = event_json.payload(type(event), event_json.to_text(event), private=private)
    if as_json:
        head = {"position": recorded.position, "type": name, "time": recorded.time, "command_id": recorded.command_id}
        output.json_line({**head, "data": data})
    else:
        output.line(f"{recorded.position}  {recorded.time}  {name}  {json.dumps(data, ensure_ascii=False)}")
