"""An application with generic messages."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from dualbus import App, Command, Event, Past

T = TypeVar("T")


class Move(Command, Generic[T]):
    to: T


class Moved(Event, Generic[T]):
    to: T


def move_by_number(command: Move[int], past: Past) -> Iterator[Moved[int]]:
    yield Moved[int](to=command.to)


def move_by_name(command: Move[str], past: Past) -> Iterator[Moved[str]]:
    yield Moved[str](to=command.to)


app = App(commands=[move_by_number, move_by_name])
