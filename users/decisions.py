"""The decisions of the commands, which commandbus calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from dualbus import Event, Past, Rejected
from users.messages import CreateUser, RenameUser, UserCreated, UserRenamed


@dataclass(frozen=True)
class User:
    exists: bool = False

    def apply(self, event: Event) -> Self:
        return type(self)(exists=True)


def create_user(command: CreateUser, past: Past) -> Iterator[Event]:
    yield UserCreated(id=past.new_id(), name=command.name, email=command.email)


def rename_user(command: RenameUser, past: Past) -> Iterator[Event]:
    if not past.fold(User, user=command.user_id).exists:
        raise Rejected("User does not exist")
    yield UserRenamed(id=command.user_id, name=command.name)
