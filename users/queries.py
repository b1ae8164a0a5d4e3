"""The answers to queries, which querybus calls."""

from dualbus import ReadOnlyTables
from users.messages import GetUser, ListUsers, User


def get_user(query: GetUser, tables: ReadOnlyTables) -> User | None:
    return tables.one("SELECT id, name FROM users WHERE id = ?", (query.user_id,))


def list_users(query: ListUsers, tables: ReadOnlyTables) -> list[User]:
    return tables.all("SELECT id, name FROM users WHERE id > ? ORDER BY id LIMIT ?", (query.after, query.limit))
