"""Commands, events and queries of the application."""

from typing import Annotated

from dualbus import Command, Event, Query, Tag, Text


class AddItem(Command):
    name: Text


class ItemAdded(Event):
    id: Annotated[str, Tag("item")]
    name: Annotated[str, Tag("name")]


class GetItem(Query):
    item_id: Text


class ListItems(Query):
    pass
