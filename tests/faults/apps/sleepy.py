"""The users application, with a command and a query more whose handlers last: a test can mix them into any load."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from dualbus import App, Command, Email, Past, Query, ReadOnlyTables, Text
from users import app as users_app
from users.messages import UserCreated

Milliseconds = Annotated[int, Field(ge=0, le=10_000)]


class Dawdle(Command):
    """Create a user, slowly."""

    name: Text
    email: Email
    ms: Milliseconds


class Nap(Query):
    """Get a user, slowly."""

    user_id: Text
    ms: Milliseconds


def dawdle(command: Dawdle, past: Past) -> Iterator[UserCreated]:
    time.sleep(command.ms / 1000)
    yield UserCreated(id=past.new_id(), name=command.name, email=command.email)


def nap(query: Nap, tables: ReadOnlyTables) -> dict[str, Any] | None:
    time.sleep(query.ms / 1000)
    return tables.one("SELECT id, name FROM users WHERE id = ?", (query.user_id,))


app = App(
    commands=[*users_app.commands, dawdle],
    projections=users_app.projections,
    queries=[*users_app.queries, nap],
    genesis=users_app.genesis,
)
