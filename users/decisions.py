"""The decisions of the commands, which commandbus calls."""

from collections.abc import Iterator

from dualbus import Past, Rejected
from users.messages import USER, CreateUser, RenameUser, UserCreated, UserRenamed


def create_user(command: CreateUser, past: Past) -> Iterator[UserCreated]:
    yield UserCreated(id=past.new_id(), name=command.name, email=command.email)


def rename_user(command: RenameUser, past: Past) -> Iterator[UserRenamed]:
    if not past.events(USER(command.user_id), of=UserCreated):
        raise Rejected("User does not exist")
    yield UserRenamed(id=command.user_id, name=command.name)
