"""An application whose functions raise errors with the representation of a message with a private field."""

from collections.abc import Iterator
from typing import Annotated, TypedDict

from dualbus import App, Command, Event, Past, Private, Projection, Query, Reaction, ReadOnlyTables, Tables, Tag, Text

ITEM = Tag("item")


class Save(Command):
    item: Text
    secret: Annotated[str, Private]


class Spoil(Command):
    item: Text
    secret: Annotated[str, Private]


class Stop(Command):
    item: Text
    secret: Annotated[str, Private]


class Saved(Event):
    item: Annotated[str, ITEM]
    secret: Annotated[str, Private]


class Stopped(Event):
    item: Annotated[str, ITEM]
    secret: Annotated[str, Private]


class Item(TypedDict):
    item: str


class List(Query[list[Item]]):
    """All items."""


class Find(Query[list[Item]]):
    """Items, but the function raises."""

    secret: str


def save(command: Save, past: Past) -> Iterator[Saved]:
    yield Saved(item=command.item, secret=command.secret)


def spoil(command: Spoil, past: Past) -> Iterator[Saved]:
    raise RuntimeError(f"{command!r} after {past.events(ITEM(command.item), of=Saved)!r}")
    yield


def stop(command: Stop, past: Past) -> Iterator[Stopped]:
    yield Stopped(item=command.item, secret=command.secret)


def add(event: Saved, tables: Tables) -> None:
    tables.execute("INSERT INTO items (item) VALUES (?)", (event.item,))


def refuse(event: Stopped, tables: Tables) -> None:
    raise ValueError(f"This projection cannot apply {event!r}")


def list_(query: List, tables: ReadOnlyTables) -> list[Item]:
    return tables.all("SELECT item FROM items")


def find(query: Find, tables: ReadOnlyTables) -> list[Item]:
    return tables.all("SELECT nothing FROM items WHERE item = ?", (query.secret,))


def react(event: Saved, past: Past) -> Iterator[Save]:
    raise ValueError(f"This reaction cannot handle {event!r}")
    yield


app = App(
    commands=[save, spoil, stop],
    projections=[Projection("items", version=1, tables="CREATE TABLE items (item TEXT)", on=[add, refuse])],
    queries=[list_, find],
    reactions=[Reaction("mail", on=[react], since="beginning", tries=1)],
)
