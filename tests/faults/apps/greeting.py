"""The sleepy application, with a reaction: an eighth of the users are greeted, and greeted again by a timer."""

import zlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from dualbus import App, Command, Event, Later, Past, Reaction
from tests.faults.apps.sleepy import app as sleepy_app
from users.messages import USER, UserCreated

AGAIN = timedelta(seconds=1)


class GreetUser(Command):
    user: str
    again: bool = False


class UserGreeted(Event):
    user: Annotated[str, USER]
    again: bool


def greet_user(command: GreetUser, past: Past) -> Iterator[UserGreeted]:
    yield UserGreeted(user=command.user, again=command.again)


def is_greeted(user: str) -> bool:
    """Return whether the reaction greets a user."""
    return zlib.crc32(user.encode()) % 8 == 0


def greet(event: UserCreated, past: Past) -> Iterator[GreetUser | Later]:
    if is_greeted(event.id):
        yield GreetUser(user=event.id)
        yield Later(GreetUser(user=event.id, again=True), after=AGAIN)


app = App(
    commands=[*sleepy_app.commands, greet_user],
    projections=sleepy_app.projections,
    queries=sleepy_app.queries,
    reactions=[Reaction("greeting", on=[greet], since="beginning")],
    genesis=sleepy_app.genesis,
)
