"""An application whose functions raise what is no Exception, each where a message names it."""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import field_validator

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Tag, Text, Upcast

THING = Tag("thing")
HOW = os.environ.get("LEAVING_HOW", "exit")
MENDED = Path(os.environ.get("LEAVING_MENDED", "/nonexistent"))


class PanicException(BaseException):
    """As a library in Rust raises it for its bugs: pyo3 creates such a class in each library."""

    __module__ = "pyo3_runtime"


class Speechless(Exception):
    """An exception whose text cannot be read."""

    def __str__(self) -> str:
        raise AttributeError("missing")


def leave() -> None:
    if HOW == "text":
        raise Speechless
    if HOW == "panic":
        raise PanicException("index out of bounds")
    if HOW == "exit":
        sys.exit(5)
    if HOW == "interrupt":
        raise KeyboardInterrupt
    if HOW == "cancel":
        raise asyncio.CancelledError
    raise GeneratorExit


class Add(Command):
    name: Text
    at: str = ""

    @field_validator("at")
    @classmethod
    def check_at(cls, at: str) -> str:
        if at == "validator":
            leave()
        return at

    def problems(self) -> Iterable[str]:
        if self.at == "rule":
            leave()
        return ()


class Added(Event):
    name: Annotated[str, THING]
    at: str


class Names(Query):
    at: str = ""

    @field_validator("at")
    @classmethod
    def check_at(cls, at: str) -> str:
        if at == "validator":
            leave()
        return at


class Seen:
    def apply(self, event: Added) -> Self:
        if event.at == "state":
            leave()
        return self


def add(command: Add, past: Past) -> Iterator[Added]:
    if command.at == "decision":
        leave()
    past.fold(Seen, THING(command.name))
    yield Added(name=command.name, at=command.at)
    if command.at == "end of the decision":
        leave()


def show(event: Added, tables: Tables) -> None:
    tables.execute("INSERT INTO things (name) VALUES (?)", (event.name,))
    if event.at == "projection" and not MENDED.exists():
        leave()


def names(query: Names, tables: ReadOnlyTables) -> list[Any]:
    if query.at == "query":
        leave()
    return [row["name"] for row in tables.all("SELECT name FROM things ORDER BY rowid")]


def today(fields: dict[str, Any]) -> dict[str, Any]:
    if fields["at"] == "upcast" and not MENDED.exists():
        leave()
    return fields


app = App(
    commands=[add],
    projections=[Projection("things", version=1, tables="CREATE TABLE things (name TEXT NOT NULL)", on=[show])],
    queries=[names],
    upcasts={"Added": Upcast("Added", today)},
)
