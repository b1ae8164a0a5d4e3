"""Commands, events and queries of the application."""

from typing import Annotated, TypedDict

from dualbus import Command, Event, Query, Tag, Text

ITEM = Tag("item")
NAME = Tag("name")


class AddItem(Command):
    name: Text


class ItemAdded(Event):
    id: Annotated[str, ITEM]
    name: Annotated[str, NAME]


class Item(TypedDict):
    id: str
    name: str


class GetItem(Query[Item | None]):
    item_id: Text


class ListItems(Query[list[Item]]):
    pass
