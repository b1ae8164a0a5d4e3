"""Export a log as JSON lines, and import these lines into a new log.

A line for each command, in the order of the log, and after it a line for each of its events (see docs/production.md).
The first line has the format, and the last line the numbers of commands and events: an export that fails can end with
a whole line, too.
Exports of earlier versions have neither, and the earliest have lines of events only.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.log.contract import (
    GENESIS,
    Decision,
    LogError,
    NewEvent,
    Origin,
    Outcome,
    ReadableLog,
    RecordedEvent,
)
from dualbus.log.engine import open_log
from dualbus.log.tags import Tagger
from dualbus.protocol.codes import WireError
from dualbus.protocol.numbers import read_number
from dualbus.runtime.errors import application_errors

FORMAT = 2  # of an export with a first and a last line
CHUNK_COMMANDS = 1000  # per commit
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_KINDS = {"position": int, "type": str, "data": dict, "time": str, "command_id": str}


class NotImported(LogError):
    """A line cannot be imported; the text names line and reason. No log was created."""


class EventLine(NamedTuple):
    """An event as exported."""

    position: int
    type: str
    data: str
    time: str
    command_id: str


class CommandLine(BaseModel):
    """A command as exported, before its events."""

    model_config = ConfigDict(strict=True, extra="forbid")

    command_id: str
    type: str
    actor: str | None
    cause: int | None
    correlation: str
    trace: str | None
    metadata: dict[str, str]
    fingerprint: str | None = Field(pattern="^([0-9a-f]{2})+$")
    events: int = Field(ge=0)
    errors: list[str | dict[str, str | None]]  # with the field and the code of a problem


class Group(NamedTuple):
    """A command with its events; earlier exports have no line of the command."""

    command_id: str
    command: CommandLine | None
    events: list[EventLine]


def export_lines(
    log: ReadableLog, progress: Callable[[int, int], None], without_private: App | None = None
) -> Iterator[str]:
    """Yield the lines of all commands and events up to the present head.

    Without the private fields of an application, a log cannot be imported.
    """
    commands = events = 0
    yield json.dumps({"export": FORMAT})
    for outcome in _outcomes(log, progress):
        yield _command(outcome._replace(fingerprint=None) if without_private else outcome)
        commands += 1
        for recorded in log.read(outcome.first - 1, outcome.events) if outcome.events else ():
            yield _event(_without_private(recorded, without_private) if without_private else recorded)
            events += 1
    yield json.dumps({"end": {"commands": commands, "events": events}})


def _outcomes(log: ReadableLog, progress: Callable[[int, int], None]) -> Iterator[Outcome]:
    """Yield the outcomes of all commands up to the present head."""
    head = log.head().position
    number = 0
    while chunk := log.commands(number, CHUNK_COMMANDS):
        for outcome in chunk:
            if outcome.position > head:
                return
            yield outcome
        number += len(chunk)
        progress(chunk[-1].position, head)


def _without_private(recorded: RecordedEvent, app: App) -> RecordedEvent:
    shown = event_json.shown(app.decode(recorded.type, recorded.data))
    return recorded._replace(type=shown["type"], data=to_json(shown["payload"]).decode())


def _command(outcome: Outcome) -> str:
    fingerprint = outcome.fingerprint and outcome.fingerprint.hex()
    rest = {"fingerprint": fingerprint, "events": outcome.events, "errors": outcome.errors}
    return json.dumps({"command_id": outcome.command_id, **outcome.origin._asdict(), **rest})


def _event(recorded: RecordedEvent) -> str:
    """Return an event as a line, with `data` as in the log."""
    head = {"position": recorded.position, "type": recorded.type, "time": recorded.time}
    rest = json.dumps({**head, "command_id": recorded.command_id})
    return f'{rest[:-1]}, "data": {recorded.data}}}'


def import_lines(lines: Iterable[str], folder: Path, app: App, progress: Callable[[int], None]) -> int:
    """Create a log from lines, a decision for each command; return the last position."""
    groups = _groups(_parsed(lines))
    first = next(groups, None)
    if first is None:
        raise NotImported("The input is empty: pass the output of `dualbus export`.")
    has_genesis = first.command_id == GENESIS

    def genesis(secret: bytes) -> Decision:
        tagger = Tagger(app.private_tags, secret)
        return _decision(first, app, tagger) if has_genesis else Decision(GENESIS, "")

    log = open_log(folder, genesis)
    try:
        tagger = Tagger(app.private_tags, log.secret)
        decisions: list[Decision] = []
        for group in groups if has_genesis else chain([first], groups):
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


def _read(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each line."""
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            yield number, json.loads(text, parse_float=_exact)
        except WireError as error:
            raise NotImported(f"Line {number}: {error}") from None
        except (ValueError, RecursionError):
            raise NotImported(f"Line {number} is not JSON: pass the output of `dualbus export`.") from None


def _content(lines: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the lines between the first and the last; raise NotImported if the last is missing, or contradicts them.

    Yield all lines of an export of an earlier version.
    """
    number, first = next(lines, (0, None))
    if not isinstance(first, dict) or first.keys() != {"export"}:
        yield from chain([(number, first)] if number else [], lines)
        return
    if first["export"] != FORMAT:
        raise NotImported(
            f"The input is an export of format {first['export']}: install the version of dualbus that has written it."
        )
    commands = events = 0
    for number, fields in lines:
        if isinstance(fields, dict) and fields.keys() == {"end"}:
            if fields["end"] != {"commands": commands, "events": events}:
                raise NotImported(
                    f"The input has {commands} commands and {events} events, and its last line has other numbers: "
                    "pass the whole output of `dualbus export`."
                )
            if beyond := next(lines, None):
                raise NotImported(f"Line {beyond[0]} is behind the last line of an export: pass a single export.")
            return
        if isinstance(fields, dict) and "position" in fields:
            events += 1
        else:
            commands += 1
        yield number, fields
    raise NotImported(
        "The input ends before the last line of the export, because `dualbus export` has failed or its output was "
        "cut: export again."
    )


def _parsed(lines: Iterable[str]) -> Iterator[CommandLine | EventLine]:
    for number, fields in _content(_read(lines)):
        if isinstance(fields, dict) and "errors" in fields and "position" not in fields:
            yield _command_line(fields, number)
            continue
        wrong = [
            name
            for name, kind in _KINDS.items()
            if not isinstance(fields, dict) or type(fields.get(name)) is not kind
        ]
        if wrong:
            raise NotImported(f"Line {number} has no valid {', '.join(wrong)}: pass the output of `dualbus export`.")
        if not _is_time(fields["time"]):
            raise NotImported(f"Line {number} has no valid time: write it as 2026-01-31T12:00:00.000000Z.")
        yield EventLine(**{**{name: fields[name] for name in _KINDS}, "data": to_json(fields["data"]).decode()})


def _is_time(text: str) -> bool:
    """Return whether a text is the time of an event. A time at the end of year 9999 would be the last of the log."""
    try:
        return bool(_TIME.fullmatch(text)) and datetime.fromisoformat(text).year < datetime.max.year
    except ValueError:
        return False


def _exact(text: str) -> float:
    """Return a number of JSON; raise WireError if its float has another value."""
    number = read_number(text)
    if isinstance(number, Decimal) and number != Decimal(repr(float(text))):
        raise WireError(f"The number {text} has more digits than a float: write it as text.")
    return float(text)


def _command_line(fields: dict[str, Any], number: int) -> CommandLine:
    try:
        return CommandLine.model_validate(fields)
    except ValidationError as error:
        wrong = sorted({str(problem["loc"][0]) for problem in error.errors()})
        raise NotImported(
            f"Line {number} has no valid {', '.join(wrong)}: pass the output of `dualbus export`."
        ) from None


def _groups(lines: Iterator[CommandLine | EventLine]) -> Iterator[Group]:
    """Yield each command with its events; check for missing positions and events, and for commands that are apart."""
    group: Group | None = None
    seen: set[str] = set()
    position = 0
    for line in lines:
        if isinstance(line, EventLine):
            position += 1
            if line.position != position:
                raise NotImported(
                    f"Position {position} is missing before {line.position}: a log needs all positions, in order."
                )
            if group and line.command_id == group.command_id:
                group.events.append(line)
                continue
        if group:
            yield _whole(group)
        if line.command_id in seen:
            raise NotImported(
                f"After position {position}, the command {line.command_id!r} appears again: the lines of a command "
                "must be adjacent."
            )
        seen.add(line.command_id)
        if isinstance(line, EventLine):
            group = Group(line.command_id, None, [line])
        else:
            group = Group(line.command_id, line, [])
    if group:
        yield _whole(group)


def _whole(group: Group) -> Group:
    """Return a group; raise NotImported if events are missing, or were added."""
    command, count = group.command, len(group.events)
    if command and count != command.events:
        raise NotImported(
            f"The command {group.command_id!r} has {command.events} events, and the input has {count}: pass the "
            "whole output of `dualbus export`."
        )
    if command and count and command.errors:
        raise NotImported(
            f"The command {group.command_id!r} has events and errors: a rejected command has no events."
        )
    return group


def _decision(group: Group, app: App, tagger: Tagger) -> Decision:
    events = [_new(line, app, tagger) for line in group.events]
    time = group.events[0].time if events else ""
    command = group.command
    if command is None:
        return Decision(group.command_id, time, events)
    fingerprint = bytes.fromhex(command.fingerprint) if command.fingerprint else None
    origin = Origin(command.type, command.actor, command.cause, command.correlation, command.trace, command.metadata)
    return Decision(group.command_id, time, events, command.errors, (), fingerprint, origin)


def _new(line: EventLine, app: App, tagger: Tagger) -> NewEvent:
    try:
        event = app.decode(line.type, line.data)
        tags = tagger.new_event(event).tags  # raises if a value cannot be stored in the log
    except application_errors() as error:  # raised by an upcast
        raise NotImported(
            f"The application cannot read position {line.position} as {line.type} ({cause(error)}): import "
            "a log of this application, or add an upcast."
        ) from None
    return NewEvent(line.type, line.data, tags)
