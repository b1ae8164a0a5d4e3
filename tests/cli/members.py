"""An application with a tag that nobody may read: members, found by their address."""

from collections.abc import Iterator
from typing import Annotated

from dualbus import App, Command, Event, Past, Private, Rejected, Tag, Text

EMAIL = Tag("email")


class Join(Command):
    email: Text


class Joined(Event):
    id: str
    email: Annotated[str, Private, EMAIL]


def join(command: Join, past: Past) -> Iterator[Joined]:
    if past.events(EMAIL(command.email)):
        raise Rejected("Email is already taken")
    yield Joined(id=past.new_id(), email=command.email)


app = App(commands=[join], projections=[], queries=[], genesis=[Joined(id="m-1", email="ada@example.org")])
