"""A peer: the eventsourcing library on SQLite, in this process, with no network."""

# mypy: allow-subclassing-any

from itertools import count, cycle
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application  # type: ignore[import-not-found, unused-ignore]
from eventsourcing.domain import Aggregate  # type: ignore[import-not-found, unused-ignore]

from benchmarks import clock

USERS = 1_000


class User(Aggregate):
    def __init__(self, name: str, email: str) -> None:
        self.name = name
        self.email = email


class Users(Application[UUID]):
    def create(self, name: str, email: str) -> UUID:
        user = User(name=name, email=email)
        self.save(user)
        user_id: UUID = user.id
        return user_id

    def get(self, user_id: UUID) -> dict[str, str]:
        user: User = self.repository.get(user_id)
        return {"id": str(user.id), "name": user.name}


def creates_per_second(folder: Path, seconds: float) -> float:
    users, numbers = _users(folder), count()

    def create() -> int:
        number = next(numbers)
        users.create(f"user {number:08d}", f"user{number:08d}@example.com")
        return 1

    rate = clock.per_second(create, seconds)
    users.close()
    return rate


def reads_per_second(folder: Path, seconds: float) -> float:
    users = _users(folder)
    ids = cycle([users.create(f"user {n:08d}", f"user{n:08d}@example.com") for n in range(USERS)])
    rate = clock.per_second(lambda: len(users.get(next(ids))) and 1, seconds)
    users.close()
    return rate


def _users(folder: Path) -> Users:
    # The library does not set `synchronous`: the default of SQLite is FULL.
    return Users(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "users.db")})
