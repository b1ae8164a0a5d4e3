"""An application that exists for the tests of records: a journal of the origins of all events."""

from collections.abc import Iterator
from typing import Any

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Recorded, Tables, Text

JOURNAL = """
CREATE TABLE journal (
    position INTEGER PRIMARY KEY, time, key, command, actor, cause, correlation, trace, metadata
)
"""


class Write(Command):
    line: Text
    copies: int = 1


class Written(Event):
    line: str


class ReadJournal(Query[list[dict[str, Any]]]):
    pass


def write(command: Write, past: Past) -> Iterator[Written]:
    for _ in range(command.copies):
        yield Written(line=command.line)


def keep(event: Event, tables: Tables, recorded: Recorded) -> None:
    it = recorded
    tables.execute(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (it.position, it.time, it.command_id, it.command, it.actor, it.cause, it.correlation, it.trace, it.metadata),
    )


def read_journal(query: ReadJournal, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all("SELECT * FROM journal ORDER BY position")


app = App(
    commands=[write],
    projections=[Projection("journal", 1, JOURNAL, on=[keep])],
    queries=[read_journal],
    genesis=[Written(line="genesis")],
)
