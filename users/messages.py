"""The messages about users."""

from typing import Annotated, TypedDict

from pydantic import Field

from dualbus import Command, Email, Event, Private, Query, Tag, Text

USER = Tag("user")


class CreateUser(Command):
    name: Text
    email: Email


class RenameUser(Command):
    user_id: Text
    name: Text


class UserCreated(Event):
    id: Annotated[str, USER]
    name: str
    email: Annotated[str, Private]


class UserRenamed(Event):
    id: Annotated[str, USER]
    name: str


class User(TypedDict):
    id: str
    name: str


class GetUser(Query[User | None]):
    user_id: Text


class ListUsers(Query[list[User]]):
    """A page of users in the order of their ids: `after` is the last id of the previous page."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str = ""
