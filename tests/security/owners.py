"""An application with a rule about the actor: only the owner may rename a list."""

from collections.abc import Iterator
from typing import Annotated

from dualbus import App, Command, Event, Past, Rejected, Tag, Text

LIST = Tag("list")


class CreateList(Command):
    name: Text


class RenameList(Command):
    list_id: Text
    name: Text


class ListCreated(Event):
    id: Annotated[str, LIST]
    owner: str | None


class ListRenamed(Event):
    id: Annotated[str, LIST]
    name: str


def create_list(command: CreateList, past: Past) -> Iterator[ListCreated]:
    yield ListCreated(id=command.name, owner=past.actor)


def rename_list(command: RenameList, past: Past) -> Iterator[ListRenamed]:
    [created] = past.events(LIST(command.list_id), of=ListCreated)
    if past.actor != created.owner:
        raise Rejected("Only the owner may rename a list")
    yield ListRenamed(id=command.list_id, name=command.name)


app = App(commands=[create_list, rename_list])
