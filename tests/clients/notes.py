"""An application that exists for the tests of clients: notes, and what a client may wish not to meet."""

import time
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

from dualbus import App, Command, Event, Past, Private, Projection, Query, ReadOnlyTables, Tables, Tag, Text


class Note(Command):
    text: Text
    due: date | None = None
    timeout: int = 0


class Noted(Event):
    id: Annotated[str, Tag("note")]
    text: str
    timeout: int
    due: Annotated[date | None, Private]


class Ponder(Command):
    """A note that is thought about for a while."""

    text: Text
    seconds: float


class Break(Command):
    pass


class CountNotes(Query):
    text: Text


class Dwell(Query):
    seconds: float


def note(command: Note, past: Past) -> Iterator[Noted]:
    yield Noted(id=past.new_id(), text=command.text, timeout=command.timeout, due=command.due)


def ponder(command: Ponder, past: Past) -> Iterator[Noted]:
    time.sleep(command.seconds)
    yield Noted(id=past.new_id(), text=command.text, timeout=0, due=None)


def fall(command: Break, past: Past) -> None:
    raise KeyError("broken")


def add_note(event: Noted, tables: Tables) -> None:
    tables.execute("INSERT INTO notes VALUES (?, ?)", (event.id, event.text))


def count_notes(query: CountNotes, tables: ReadOnlyTables) -> Any:
    return tables.one("SELECT count(*) AS count FROM notes WHERE text = ?", (query.text,))["count"]  # type: ignore[index]


def dwell(query: Dwell, tables: ReadOnlyTables) -> bool:
    time.sleep(query.seconds)
    return True


NOTES = "CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL); CREATE INDEX by_text ON notes (text)"

app = App(
    commands=[note, ponder, fall],
    projections=[Projection("notes", version=1, tables=NOTES, on=[add_note])],
    queries=[count_notes, dwell],
)
