"""An application with mistakes in it: a projection that raises until it is mended, a rule that raises, a crash."""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Tag, Text

MENDED = Path(os.environ.get("STUMBLING_MENDED", "/nonexistent"))  # the fix is this file being there


class Add(Command):
    name: Text

    def problems(self) -> Iterable[str]:
        if self.name == "a rule that raises":
            raise KeyError("the author forgot a case")
        return ()


class Added(Event):
    name: Annotated[str, Tag("thing")]


class Names(Query):
    crash: bool = False


def add(command: Add, past: Past) -> Iterator[Added]:
    if command.name == "a decision that raises":
        raise ZeroDivisionError("the author forgot another case")
    if command.name == "a decision that kills":
        os.kill(os.getpid(), signal.SIGKILL)
    yield Added(name=command.name)


def show(event: Added, tables: Tables) -> None:
    tables.execute("INSERT INTO things (name) VALUES (?)", (event.name,))
    if event.name == "poison" and not MENDED.exists():
        raise ValueError("cannot show poison")


def names(query: Names, tables: ReadOnlyTables) -> list[Any]:
    if query.crash:
        os.kill(os.getpid(), signal.SIGKILL)
    return [row["name"] for row in tables.all("SELECT name FROM things ORDER BY rowid")]


app = App(
    commands=[add],
    projections=[Projection("things", version=1, tables="CREATE TABLE things (name TEXT NOT NULL)", on=[show])],
    queries=[names],
)
