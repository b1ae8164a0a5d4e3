"""The judge: what clients recorded, held against the log and the read model. It trusts neither.

A command of the load writes its key as a name, so its effect is found in the log by what it wrote and not
by the command id, which is one of the things under test. Judge when nothing writes any more.
"""

import json
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from dualbus.application.app import App
from dualbus.log.chain import commit_hash, event_hash
from dualbus.log.contract import NO_HASH, Head, RecordedEvent
from dualbus.log.identity import Identity
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.protocol.codes import Code
from dualbus.readmodel.applier import Applier
from dualbus.readmodel.file import create, file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.tables import CHECKPOINT_TABLE
from dualbus.readmodel.writer import ReadModelWriter
from users import app as users_app

Effects = dict[str, list[RecordedEvent]]


class Answer(StrEnum):
    """What a client may conclude from what it was told."""

    ACKNOWLEDGED = "acknowledged"  # of a query: answered
    REFUSED = "refused"  # definite: it never happened and never will
    UNKNOWN = "unknown"  # indefinite, or no answer at all


@dataclass(slots=True)
class Operation:
    """One message and its answer; a command that is sent again under its key is another operation."""

    session: str
    key: str  # of a command: the name it writes; of a query: the id of the user it asks for
    query: bool
    sent: float  # by time.monotonic(), before it was sent
    answered: float | None = None  # after the answer was taken
    answer: Answer = Answer.UNKNOWN
    position: int = 0
    shown: Any = None  # of a command: the events in its answer; of a query: the row
    code: int | None = None  # of an error; a command that was decided and refused has none


class Fault(NamedTuple):
    """A promise that was broken."""

    kind: str  # lost, doubled, stale, skipped, reordered, untrue, broken
    text: str


class Log(NamedTuple):
    """Everything that is in a log."""

    identity: Identity
    events: list[RecordedEvent]
    tags: dict[int, list[str]]
    outcomes: list[Any]  # a row of the table
    commits: list[Any]  # (number, position, outcomes, hash)


def judge(history: Sequence[Operation], folder: Path, app: App = users_app) -> list[Fault]:
    """Return every promise that was broken; the history is of the users application."""
    log = read_log(folder)
    effects = _effects(log)
    return [
        *chain(log),
        *_commands(history, effects),
        *_order(history, effects),
        *_sessions(history),
        *_answers(history, log),
        *_read_model(folder, app, log),
    ]


def read_log(folder: Path) -> Log:
    """Read all of a log."""
    reader = SqliteLogReader(folder)
    events = reader.read(0, 1 << 62)
    reader.close()
    db = apsw.Connection(str(folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    tags = defaultdict(list)
    for tag, position in db.execute("SELECT tag, position FROM tags ORDER BY tag"):
        tags[position].append(tag)
    outcomes = db.execute("SELECT * FROM outcomes ORDER BY number").fetchall()
    commits = db.execute("SELECT number, position, outcomes, hash FROM commits ORDER BY number").fetchall()
    db.close()
    return Log(reader.identity, events, tags, outcomes, commits)


def chain(log: Log) -> Iterator[Fault]:
    """Positions without holes, every hash what it should be; what follows the first break says nothing."""
    hash_, hashes = NO_HASH, {0: NO_HASH}
    for position, event in enumerate(log.events, 1):
        if event.position != position:
            yield Fault("broken", f"Position {position} is not in the log: {event.position} comes next.")
            return
        hash_ = event_hash(hash_, event[:5], log.tags.get(position, []))
        hashes[position] = hash_
        if hash_ != event.hash:
            yield Fault("broken", f"The chain is broken at position {position}.")
            return
    before, outcomes = NO_HASH, 0
    for number, position, last, commit in log.commits:
        head = Head(position, hashes.get(position, b""))
        before = commit_hash(before, head, log.outcomes[outcomes:last])
        outcomes = last
        if before != commit:
            yield Fault("broken", f"The chain is broken at commit {number}, position {position}.")
            return
    if outcomes != len(log.outcomes) or (log.commits and log.commits[-1][1] != len(log.events)):
        yield Fault("broken", "The log ends elsewhere than its last commit.")


def _effects(log: Log) -> Effects:
    """Return the events by the name they wrote."""
    effects = defaultdict(list)
    for event in log.events:
        effects[json.loads(event.data).get("name", "")].append(event)
    return effects


def _attempts(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    attempts = defaultdict(list)
    for operation in history:
        if not operation.query:
            attempts[operation.key].append(operation)
    return attempts


def _commands(history: Iterable[Operation], effects: Effects) -> Iterator[Fault]:
    """Acknowledged: once, at its position. Refused every time: not at all. Else: at most once."""
    for key, attempts in _attempts(history).items():
        found = effects.get(key, [])
        acknowledged = [one for one in attempts if one.answer is Answer.ACKNOWLEDGED]
        if len(found) > 1:
            yield Fault("doubled", f"{key} is in the log at {[event.position for event in found]}.")
        if acknowledged:
            yield from _acknowledged(key, acknowledged, found)
            yield from _refused_afterwards(key, acknowledged, attempts)
        elif found and all(one.answer is Answer.REFUSED for one in attempts):
            codes = ", ".join("none" if one.code is None else str(one.code) for one in attempts)
            text = f"{key} was definitely refused (code {codes}) and is in the log at {found[0].position}."
            yield Fault("untrue", text)


def _acknowledged(key: str, acknowledged: list[Operation], found: list[RecordedEvent]) -> Iterator[Fault]:
    first = acknowledged[0]
    for again in acknowledged[1:]:
        if (again.position, again.shown) != (first.position, first.shown):
            yield Fault("doubled", f"{key} was answered in two ways: {first} and {again}.")
    if not found:
        yield Fault("lost", f"{key} was acknowledged at {first.position} and is not in the log.")
    elif found[0].position != first.position:
        yield Fault("lost", f"{key} was acknowledged at {first.position} and is at {found[0].position}.")
    elif not _says([found[0]], first.shown):
        yield Fault("lost", f"{key} was acknowledged as {first.shown} and is {found[0].data} in the log.")


def _refused_afterwards(key: str, acknowledged: list[Operation], attempts: list[Operation]) -> Iterator[Fault]:
    """An acknowledged command that is sent again has the same answer, or none for now: code 11, or not known."""
    known = min((one.answered for one in acknowledged if one.answered is not None), default=float("inf"))
    for one in attempts:
        if one.answer is not Answer.REFUSED or one.code == Code.UNAVAILABLE:
            continue
        if one.code is None:
            yield Fault("doubled", f"{key} was answered in two ways: {acknowledged[0]} and {one}.")
        elif one.sent > known:
            yield Fault("untrue", f"{key} was acknowledged, and refused with code {one.code} when it was sent again.")


def _says(events: list[RecordedEvent], shown: Any) -> bool:
    """Tell whether an answer shows these events; private fields are in the log only."""
    return len(events) == len(shown) and all(
        event.type == one["type"] and one["payload"].items() <= json.loads(event.data).items()
        for event, one in zip(events, shown, strict=True)
    )


def _order(history: Iterable[Operation], effects: Effects) -> Iterator[Fault]:
    """Acknowledged before sent means a lower position.

    A command counts as sent when it was first sent and not refused: what a refused attempt did would be too early.
    """
    attempts = _attempts(history)
    first = {key: min(one.sent for one in of_key) for key, of_key in attempts.items()}
    sent = sorted((_first_not_refused(of_key), key) for key, of_key in attempts.items() if effects.get(key))
    known = sorted(
        (one.answered, one.position, one.key)
        for of_key in attempts.values()
        for one in of_key
        if one.answer is Answer.ACKNOWLEDGED and one.answered is not None
    )
    taken, highest, whose = 0, 0, ""
    for at, key in sent:
        while taken < len(known) and known[taken][0] < at:
            highest, whose = max((highest, whose), known[taken][1:])
            taken += 1
        if (position := effects[key][0].position) <= highest:
            text = f"{key} is at {position}, and was sent after {whose} was acknowledged at {highest}"
            if at > first[key]:
                yield Fault("untrue", f"{text}; an attempt before that was definitely refused.")
            else:
                yield Fault("reordered", f"{text}.")


def _first_not_refused(attempts: list[Operation]) -> float:
    """Return when a command was first sent without being refused; when it was first sent, if it always was."""
    sent = [one.sent for one in attempts if one.answer is not Answer.REFUSED]
    return min(sent or [one.sent for one in attempts])


def _sessions(history: Iterable[Operation]) -> Iterator[Fault]:
    """No session is shown anything older than what it has seen, or has sent before it asked."""
    by_session = defaultdict(list)
    for operation in history:
        by_session[operation.session].append(operation)
    for session, operations in by_session.items():
        asked = [one for one in operations if one.query and one.answer is Answer.ACKNOWLEDGED]
        moments = [(one.sent, one.position, "it had sent", one.key) for one in operations if _written(one)]
        moments += [(one.answered, one.position, "it had seen", one.key) for one in operations if one.answered]
        moments.sort()
        taken, highest = 0, (0, "", "")
        for query in sorted(asked, key=lambda one: one.sent):
            while taken < len(moments) and moments[taken][0] < query.sent:
                highest = max(highest, moments[taken][1:])
                taken += 1
            if query.position < highest[0]:
                text = f"{session} was answered from {query.position}; {highest[1]} {highest[2]} at {highest[0]}."
                yield Fault("stale", text)


def _written(operation: Operation) -> bool:
    return not operation.query and operation.answer is Answer.ACKNOWLEDGED


def _answers(history: Iterable[Operation], log: Log) -> Iterator[Fault]:
    """A query shows the row as the log makes it at the position of the answer, and no other."""
    names: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in log.events:
        data = json.loads(event.data)
        if "name" in data:
            names[data["id"]].append((event.position, data["name"]))
    for one in history:
        if not one.query or one.answer is not Answer.ACKNOWLEDGED:
            continue
        if one.position > len(log.events):
            yield Fault("lost", f"{one.session} was answered from {one.position}, beyond the end of the log.")
            continue
        known = names.get(one.key, [])
        upto = bisect_right(known, one.position, key=lambda row: row[0])
        right = {"id": one.key, "name": known[upto - 1][1]} if upto else None
        if one.shown != right:
            yield Fault("stale", f"{one.session} was shown {one.shown} at {one.position}; the log says {right}.")


def _read_model(folder: Path, app: App, log: Log) -> Iterator[Fault]:
    """A read model made of the same events from nothing has the same rows."""
    path = folder / file_name(app.projections)
    if not path.exists():
        return
    live = _rows(path)
    reader = ReadModelReader(path)
    checkpoint = reader.checkpoint()
    reader.close()
    position = checkpoint.position
    if position > len(log.events) or (position and log.events[position - 1].hash != checkpoint.hash):
        yield Fault("lost", f"The read model has seen position {position}, and the log does not have it so.")
        return
    with tempfile.TemporaryDirectory(prefix="judge") as scratch:
        made = Path(scratch) / path.name
        create(made, app.projections, log.identity)
        writer = ReadModelWriter(made, building=True)
        writer.begin()
        projecting = Applier(app)
        for event in log.events[:position]:
            projecting.apply(event, writer)
        writer.commit(position, checkpoint.hash)
        writer.close()
        rebuilt = _rows(made)
    for table in sorted(live.keys() | rebuilt.keys()):
        here, there = live.get(table, []), rebuilt.get(table, [])
        if here != there:
            missing, extra = [r for r in there if r not in here], [r for r in here if r not in there]
            text = f"Table {table} at {position} lacks {missing[:3]} and has {extra[:3]} beside what events make."
            yield Fault("skipped", text)


def _rows(path: Path) -> dict[str, list[Any]]:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> ?", (CHECKPOINT_TABLE,))
    rows = {str(name): sorted(db.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in tables.fetchall()}
    db.close()
    return rows
