"""The changes of the read model for each event, which projector applies."""

from dualbus import Tables
from users.messages import UserCreated, UserRenamed

USERS_TABLE = "CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID"


def add_user(event: UserCreated, tables: Tables) -> None:
    tables.execute("INSERT INTO users (id, name) VALUES (?, ?)", (event.id, event.name))


def update_name(event: UserRenamed, tables: Tables) -> None:
    tables.execute("UPDATE users SET name = ? WHERE id = ?", (event.name, event.id))
