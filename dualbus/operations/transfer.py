"""Events as JSON lines: out of a log, and into a new one."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.log.contract import Decision, LogError, NewEvent, RecordedEvent
from dualbus.log.sqlite.schema import GENESIS
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.log.tags import Tagger
from dualbus.runtime.errors import RAISED_UNDER_CTRL_C

CHUNK_COMMANDS = 1000  # of one commit
_KINDS = {"position": int, "type": str, "data": dict, "time": str, "command_id": str}


class NotImported(LogError):
    """A line that cannot be taken; the text says which and why. Nothing was made."""


class Line(NamedTuple):
    """An event as its line says it."""

    position: int
    type: str
    data: str
    time: str
    command_id: str


def exported(recorded: RecordedEvent) -> str:
    """Return an event as a line; `data` stays as it stands in the log, to the last digit."""
    head = {"position": recorded.position, "type": recorded.type, "time": recorded.time}
    rest = json.dumps({**head, "command_id": recorded.command_id})
    return f'{rest[:-1]}, "data": {recorded.data}}}'


def import_lines(lines: Iterable[str], folder: Path, app: App, progress: Callable[[int], None]) -> int:
    """Make a log of lines, as the commands whose events they are; return its last position.

    Of commands that were refused, and of idempotency keys, lines say nothing: the new log does not know them.
    """
    groups = _groups(_parsed(lines))
    first = next(groups, [])
    if not first:
        raise NotImported("There is no event to import: give the lines that `dualbus export` wrote.")
    begins = first[0].command_id == GENESIS

    def genesis(secret: bytes) -> Decision:
        tagger = Tagger(app.private_tags, secret)
        return _decision(first, app, tagger) if begins else Decision(GENESIS, first[0].time)

    log = SqliteLog(folder, genesis)
    try:
        tagger = Tagger(app.private_tags, log.secret)
        decisions = [] if begins else [_decision(first, app, tagger)]
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
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise NotImported(f"Line {number} is not JSON: give the lines that `dualbus export` wrote.") from None
        wrong = [
            name for name, kind in _KINDS.items() if not isinstance(found, dict) or type(found.get(name)) is not kind
        ]
        if wrong:
            raise NotImported(
                f"Line {number} has no {' and no '.join(wrong)} as an event has: give what was exported."
            )
        yield Line(**{**{name: found[name] for name in _KINDS}, "data": to_json(found["data"]).decode()})


def _groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield the events of each command, and see that positions have no holes and no command comes twice."""
    group: list[Line] = []
    seen: set[str] = set()
    for position, line in enumerate(lines, 1):
        if line.position != position:
            raise NotImported(
                f"Position {position} is missing; {line.position} comes instead: a new log needs all, in order."
            )
        if group and line.command_id != group[0].command_id:
            yield group
            group = []
        if not group and line.command_id in seen:
            raise NotImported(f"Position {position} belongs to a command whose events ended before.")
        seen.add(line.command_id)
        group.append(line)
    if group:
        yield group


def _decision(group: list[Line], app: App, tagger: Tagger) -> Decision:
    return Decision(group[0].command_id, group[0].time, [_new(line, app, tagger) for line in group])


def _new(line: Line, app: App, tagger: Tagger) -> NewEvent:
    try:
        event = app.decode(line.type, line.data)
        event.fields()  # raises if it holds what no log can
    except RAISED_UNDER_CTRL_C as error:  # by an upcast
        raise NotImported(
            f"The application cannot read position {line.position} as {line.type} ({cause(error)}): give the "
            "lines of this application's log, or add an upcast."
        ) from None
    return NewEvent(line.type, line.data, tagger.tags(event.tags()))
