"""The messages about users."""

from typing import Annotated

from pydantic import Field

from dualbus import Command, Email, Event, Private, Query, Tag, Text


class CreateUser(Command):
    name: Text
    email: Email


class RenameUser(Command):
    user_id: Text
    name: Text


class UserCreated(Event):
    id: Annotated[str, Tag("user")]
    name: str
    email: Annotated[str, Private]


class UserRenamed(Event):
    id: Annotated[str, Tag("user")]
    name: str


class GetUser(Query):
    user_id: Text


class ListUsers(Query):
    """A page of users in the order of their ids: `after` is the last id of the previous page."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str = ""
