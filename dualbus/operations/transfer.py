"""Export events as JSON lines, and import these lines into a new log."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.log.contract import GENESIS, Decision, LogError, NewEvent, RecordedEvent
from dualbus.log.engine import open_log
from dualbus.log.tags import Tagger
from dualbus.runtime.errors import RAISED_UNDER_CTRL_C

CHUNK_COMMANDS = 1000  # per commit
_KINDS = {"position": int, "type": str, "data": dict, "time": str, "command_id": str}


class NotImported(LogError):
    """A line cannot be imported; the text names line and reason. No log was created."""


class Line(NamedTuple):
    """An event as exported."""

    position: int
    type: str
    data: str
    time: str
    command_id: str


def exported(recorded: RecordedEvent) -> str:
    """Return an event as a line, with `data` exactly as in the log."""
    head = {"position": recorded.position, "type": recorded.type, "time": recorded.time}
    rest = json.dumps({**head, "command_id": recorded.command_id})
    return f'{rest[:-1]}, "data": {recorded.data}}}'


def import_lines(lines: Iterable[str], folder: Path, app: App, progress: Callable[[int], None]) -> int:
    """Create a log from lines, a decision for each command id; return the last position.

    Rejected commands and idempotency keys are not exported, and therefore missing in the new log.
    """
    groups = _groups(_parsed(lines))
    first = next(groups, [])
    if not first:
        raise NotImported("The input has no events: pass the output of `dualbus export`.")
    has_genesis = first[0].command_id == GENESIS

    def genesis(secret: bytes) -> Decision:
        tagger = Tagger(app.private_tags, secret)
        return _decision(first, app, tagger) if has_genesis else Decision(GENESIS, first[0].time)

    log = open_log(folder, genesis)
    try:
        tagger = Tagger(app.private_tags, log.secret)
        decisions = [] if has_genesis else [_decision(first, app, tagger)]
        for group in groups:
            decisions.append(_decision(group, app, tagger))
            if len(decisions) == CHUNK_COMMANDS:
                log.append(decisions)
                decisions.clear()
                progress(log.head().position)
        if decisions:
            log.append(decisions)
        return log.head().position
    finally:
        log.close()


def _parsed(lines: Iterable[str]) -> Iterator[Line]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise NotImported(f"Line {number} is not JSON: pass the output of `dualbus export`.") from None
        wrong = [
            name
            for name, kind in _KINDS.items()
            if not isinstance(fields, dict) or type(fields.get(name)) is not kind
        ]
        if wrong:
            raise NotImported(f"Line {number} has no valid {', '.join(wrong)}: pass the output of `dualbus export`.")
        yield Line(**{**{name: fields[name] for name in _KINDS}, "data": to_json(fields["data"]).decode()})


def _groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield the events of each command; check for missing positions and for commands with events apart."""
    group: list[Line] = []
    seen: set[str] = set()
    for position, line in enumerate(lines, 1):
        if line.position != position:
            raise NotImported(
                f"Position {position} is missing before {line.position}: a log needs all positions, in order."
            )
        if group and line.command_id != group[0].command_id:
            yield group
            group = []
        if not group and line.command_id in seen:
            raise NotImported(
                f"Position {position} belongs to an earlier command: the events of a command must be adjacent."
            )
        seen.add(line.command_id)
        group.append(line)
    if group:
        yield group


def _decision(group: list[Line], app: App, tagger: Tagger) -> Decision:
    return Decision(group[0].command_id, group[0].time, [_new(line, app, tagger) for line in group])


def _new(line: Line, app: App, tagger: Tagger) -> NewEvent:
    try:
        event = app.decode(line.type, line.data)
        tags = tagger.new_event(event).tags  # raises if a value cannot be stored in the log
    except RAISED_UNDER_CTRL_C as error:  # raised by an upcast
        raise NotImported(
            f"The application cannot read position {line.position} as {line.type} ({cause(error)}): import "
            "a log of this application, or add an upcast."
        ) from None
    return NewEvent(line.type, line.data, tags)
