"""Decisions and answers that take their time, so that a test can bring more than can be done."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Tag, Text


class Work(Command):
    name: Text
    ms: int = 5


class Worked(Event):
    name: Annotated[str, Tag("work")]


class Look(Query):
    ms: int = 5


def work(command: Work, past: Past) -> Iterator[Worked]:
    time.sleep(command.ms / 1000)
    yield Worked(name=command.name)


def note(event: Worked, tables: Tables) -> None:
    tables.execute("INSERT INTO done (name) VALUES (?)", (event.name,))


def look(query: Look, tables: ReadOnlyTables) -> dict[str, Any] | None:
    time.sleep(query.ms / 1000)
    return tables.one("SELECT count(*) AS done FROM done")


app = App(
    commands=[work],
    projections=[Projection("done", version=1, tables="CREATE TABLE done (name TEXT NOT NULL)", on=[note])],
    queries=[look],
)
